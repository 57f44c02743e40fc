import { type Command, Option } from 'commander';
import { PAGE_SIZE, RegionBuffer } from '../../abi/index.js';
import { kernelCategories, type LivePagemap } from '../../live/index.js';
import {
  type AddressRange,
  addToCounts,
  emptyCounts,
  legRanges,
  type PageCounts,
  RegionDealer,
  SUMMARY_ANYOF,
  SUMMARY_RETURN,
  scanLegs,
} from '../../query/index.js';
import { bar, KINDS, kindIndex, legend } from '../bar.js';
import { EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { parseCount } from '../options.js';
import { Output } from '../output.js';
import { openTarget } from '../target.js';
import { hex, humanBytes, outputStyle, plural, printable, type Style, shorten, tableLines } from '../text.js';

export const MAPS_SCHEMA = 'pagemap-scan/maps@1';

const SORT_KEYS = ['size', 'present', 'swapped', 'address', 'name'] as const;
type SortKey = (typeof SORT_KEYS)[number];

export interface MapsOptions {
  readonly sort?: SortKey;
  readonly top?: number;
  readonly json?: boolean;
  readonly color?: boolean;
}

/** A mapping with its pages: by category for the numbers, by kind for the bar. */
export interface MapsRow extends PageCounts {
  readonly start: number;
  readonly end: number;
  readonly prot: string;
  readonly name: string;
  readonly kinds: number[];
}

/** Anything with a range, protection and name can be a row: mappings are, and the parts of a sample. */
export type RowSource = AddressRange & { readonly perms: string; readonly name: string };

/**
 * Counts the pages of each mapping; memory grows with the mappings, not with what is in them.
 *
 * @param step is called between calls into the kernel; false ends the work early
 */
export async function countRows(
  pagemap: LivePagemap,
  mappings: readonly RowSource[],
  step: () => Promise<boolean> = async () => true,
): Promise<MapsRow[] | undefined> {
  const rows: MapsRow[] = mappings.map(({ start, end, perms, name }) => ({
    start,
    end,
    prot: perms,
    name,
    kinds: KINDS.map(() => 0),
    ...emptyCounts(),
    pages: (end - start) / PAGE_SIZE,
  }));
  const dealer = new RegionDealer(mappings, (index, start, end, categories) => {
    // A mapping that is younger than the list is left out, as one that is younger than the scan would be.
    if (index < 0) return;
    const row = rows[index]!;
    const pages = (end - start) / PAGE_SIZE;
    addToCounts(row, pages, categories);
    row.kinds[kindIndex(categories)]! += pages;
  });
  const buffer = new RegionBuffer(8192);
  const returnMask = SUMMARY_RETURN & kernelCategories();
  for (const range of legRanges(mappings)) {
    const query = { ...range, categoryAnyofMask: SUMMARY_ANYOF, returnMask };
    for (const found of scanLegs(pagemap, query, { buffer })) {
      for (let index = 0; index < found.length; index++) {
        dealer.add(found.start(index), found.end(index), found.categories(index));
      }
    }
    if (!(await step())) return undefined;
  }
  const untouched = KINDS.indexOf('untouched');
  for (const row of rows) row.kinds[untouched] = row.pages - row.kinds.reduce((sum, pages) => sum + pages, 0);
  return rows;
}

export function sumRows(rows: readonly MapsRow[]): PageCounts {
  const totals = emptyCounts();
  const keys = Object.keys(totals) as (keyof PageCounts)[];
  for (const row of rows) for (const key of keys) totals[key] += row[key];
  return totals;
}

function compare(key: SortKey): (a: MapsRow, b: MapsRow) => number {
  switch (key) {
    case 'size':
      return (a, b) => b.pages - a.pages || b.present - a.present || a.start - b.start;
    case 'address':
      return (a, b) => a.start - b.start;
    case 'name':
      return (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.start - b.start);
    default:
      return (a, b) => b[key] - a[key] || b.pages - a.pages || a.start - b.start;
  }
}

const BAR_CELLS = 16;
const NAME_LEAST_COLUMNS = 12;

/** A size column: empty rather than zero, so that the eye finds what is there. */
function size(pages: number): string {
  return pages === 0 ? '' : humanBytes(pages * PAGE_SIZE);
}

function sizes(counts: PageCounts): string[] {
  return [
    humanBytes(counts.pages * PAGE_SIZE),
    size(counts.present),
    size(counts.swapped),
    size(counts.file),
    size(counts.pfnzero),
    size(counts.huge),
    size(counts.guard),
  ];
}

/** The table of `rows`, as lines. */
export function mapsTable(rows: readonly MapsRow[], totals: PageCounts, style: Style): string[] {
  const right = (title: string) => ({ title, align: 'right' }) as const;
  const left = (title: string) => ({ title, align: 'left' }) as const;
  const columns = [
    left('ADDRESS'),
    left('PROT'),
    right('SIZE'),
    right('PRESENT'),
    right('SWAPPED'),
    right('FILE'),
    right('ZERO'),
    right('HUGE'),
    right('GUARD'),
    left('PAGES'),
    left('NAME'),
  ];
  const allKinds = KINDS.map((_, index) => rows.reduce((pages, row) => pages + row.kinds[index]!, 0));
  const cells = [
    ...rows.map((row) => [hex(row.start), row.prot, ...sizes(row), bar(row.kinds, BAR_CELLS, style)]),
    ['total', '', ...sizes(totals), bar(allKinds, BAR_CELLS, style)],
  ];
  // The name comes last and takes what room is left, but the numbers are never cut for it.
  const [widest = ''] = tableLines(columns.slice(0, -1), cells);
  const room = Math.max(style.columns - widest.length - BAR_CELLS - 2, NAME_LEAST_COLUMNS);
  const names = [...rows.map(({ name }) => printable(name) || '[anon]'), plural(rows.length, 'mapping')];
  const lines = tableLines(
    columns,
    cells.map((row, index) => [...row, shorten(names[index]!, room)]),
  );
  const { colors } = style;
  return lines.map((line, index) => (index === 0 || index === lines.length - 1 ? colors.bold(line) : line));
}

/** The work of `pmscan maps`. */
export async function mapsCommand(target: string, options: MapsOptions): Promise<ExitCode> {
  using pagemap = openTarget(target);
  using interrupt = new Interrupt();
  const rows = await countRows(pagemap, pagemap.mappings(), async () => !(await interrupt.check()));
  if (rows === undefined) return EXIT.interrupted;
  // Half of a table would be a wrong table.
  pagemap.checkAlive();

  rows.sort(compare(options.sort ?? 'size'));
  const totals = sumRows(rows);
  const shown = rows.slice(0, options.top ?? rows.length);
  const output = new Output();
  if (options.json) {
    const document = {
      schema: MAPS_SCHEMA,
      pid: pagemap.pid,
      pageSize: PAGE_SIZE,
      mappings: shown.map(({ kinds: _kinds, start, end, prot, name, ...counts }) => ({
        start: hex(start),
        end: hex(end),
        prot,
        name,
        ...counts,
      })),
      totals: { mappings: rows.length, ...totals },
    };
    output.line(JSON.stringify(document, null, 2));
  } else {
    const style = outputStyle(options.color !== false);
    const title = `Process ${pagemap.pid}, ${printable(pagemap.process.name())}`;
    output.line(
      `${style.colors.bold(title)}: ${plural(rows.length, 'mapping')} by ${options.sort ?? 'size'}`,
    );
    for (const line of mapsTable(shown, totals, style)) output.line(line);
    if (shown.length < rows.length) {
      output.line(
        `${plural(rows.length - shown.length, 'mapping')} more; the totals count them, --top shows them`,
      );
    }
    output.line(legend(style));
  }
  await output.flush();
  return EXIT.done;
}

/** Adds `pmscan maps` to the program. */
export function addMapsCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('maps')
    .description("show a process's mappings and what their pages are")
    .argument('<pid>', 'process number, or the name of one process')
    .addOption(new Option('--sort <key>', 'order of the mappings').choices(SORT_KEYS).default('size'))
    .option('--top <n>', 'show the first n mappings only', parseCount)
    .option('--json', 'one JSON document, counts in pages')
    .addHelpText(
      'after',
      `
Columns: SIZE is address space; PRESENT is in memory now; SWAPPED is swapped out or marked; FILE, ZERO, HUGE and GUARD
are pages of files and shared memory, of the shared zero page, mapped as huge pages, and guard pages. A page may count
in several columns. PAGES shows each mapping's pages in proportion.

Examples:
  pmscan maps 1234
  pmscan maps redis-server --sort present --top 20
  pmscan maps postgres --json | jq '.totals.swapped * 4096'`,
    )
    .action((target: string, _options: MapsOptions, command: Command) =>
      run(() => mapsCommand(target, command.optsWithGlobals())),
    );
}
