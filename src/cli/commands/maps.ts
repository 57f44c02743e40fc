import { type Command, Option } from 'commander';
import { categoryNames, PAGE_SIZE, type Pagemap, RegionBuffer } from '../../abi/index.js';
import { kernelCategories } from '../../live/index.js';
import { parseSmaps, type SmapsMapping } from '../../proc/index.js';
import {
  type AddressRange,
  legRanges,
  lookMasks,
  lookWith,
  MappingSummarizer,
  type MappingSummary,
  PAGE_KINDS,
  type PageCounts,
  pageKindIndex,
  scanLegs,
} from '../../query/internal.js';
import { bar, legend } from '../bar.js';
import { shorten, tableLines } from '../columns.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { parseCount } from '../options.js';
import { Output } from '../output.js';
import { openPages } from '../pages.js';
import { type Proportions, proportions, sumProportions } from '../proportions.js';
import { tellProvider } from '../target.js';
import { hex, humanBytes, mappingLabel, outputStyle, plural, printable, type Style } from '../text.js';

export const MAPS_SCHEMA = 'pagemap-scan/maps@1';

const SORT_KEYS = ['size', 'present', 'swapped', 'pss', 'uss', 'address', 'name'] as const;
type SortKey = (typeof SORT_KEYS)[number];

export interface MapsOptions {
  readonly sort?: SortKey | undefined;
  readonly top?: number | undefined;
  readonly pss?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
}

/** Anything with a range, protection and name can be a row: mappings are, and the parts of a sample. */
export type RowSource = AddressRange & {
  readonly perms: string;
  readonly name: string;
  readonly deleted?: boolean | undefined;
};

/** A mapping with its pages: by category for the numbers, by kind for the bar. */
export interface MapsRow extends MappingSummary<RowSource>, Proportions {
  readonly kinds: number[];
}

/** All rows, and what they add up to. */
export interface MapsRows {
  readonly rows: MapsRow[];
  readonly totals: PageCounts & Proportions;
  readonly kinds: number[];
  /** The categories with a count that could not be told. */
  readonly unknown: readonly string[];
}

/**
 * Counts the pages of each mapping; memory grows with the mappings, not with what is in them.
 *
 * @param options.step is called between calls into the kernel; false ends the work early
 * @param options.categories those that the provider knows; the kernel's by default
 * @param options.partial whether what it does not know may be there nevertheless
 */
export async function countRows(
  pagemap: Pagemap,
  mappings: readonly RowSource[],
  options: { step?: () => Promise<boolean>; categories?: number; partial?: boolean } = {},
): Promise<MapsRows | undefined> {
  const { categories = kernelCategories(), partial = false, step } = options;
  const attempts = lookMasks({ categories, provider: partial ? 'fallback' : 'ioctl' });
  return lookWith(attempts, async ({ categoryAnyofMask, returnMask, unknown }) => {
    const counted = await countOnce(pagemap, mappings, categoryAnyofMask, returnMask, step);
    return counted && { ...counted, unknown: categoryNames(unknown) };
  });
}

async function countOnce(
  pagemap: Pagemap,
  mappings: readonly RowSource[],
  categoryAnyofMask: number,
  returnMask: number,
  step: (() => Promise<boolean>) | undefined,
): Promise<MapsRows | undefined> {
  const kinds = mappings.map(() => PAGE_KINDS.map(() => 0));
  const summarizer = new MappingSummarizer(mappings, (index, pages, categories) => {
    kinds[index]![pageKindIndex(categories)]! += pages;
  });
  const buffer = new RegionBuffer(8192);
  for (const range of legRanges(mappings)) {
    const query = { ...range, categoryAnyofMask, returnMask };
    for (const found of scanLegs(pagemap, query, { buffer })) summarizer.addAll(found);
    if (step !== undefined && !(await step())) return undefined;
  }
  const all = PAGE_KINDS.map(() => 0);
  const untouched = PAGE_KINDS.indexOf('untouched');
  const rows = summarizer.summaries.map((summary, index) => {
    const own = kinds[index]!;
    own[untouched] = summary.pages - own.reduce((sum, pages) => sum + pages, 0);
    own.forEach((pages, kind) => {
      all[kind]! += pages;
    });
    return { ...summary, kinds: own };
  });
  return { rows, totals: summarizer.totals(), kinds: all, unknown: [] };
}

function compare(key: SortKey): (a: MapsRow, b: MapsRow) => number {
  switch (key) {
    case 'size':
      return (a, b) => b.pages - a.pages || b.present - a.present || a.mapping.start - b.mapping.start;
    case 'address':
      return (a, b) => a.mapping.start - b.mapping.start;
    case 'name':
      return (a, b) =>
        a.mapping.name < b.mapping.name
          ? -1
          : a.mapping.name > b.mapping.name
            ? 1
            : a.mapping.start - b.mapping.start;
    case 'pss':
      return (a, b) => (b.pssBytes ?? 0) - (a.pssBytes ?? 0) || a.mapping.start - b.mapping.start;
    case 'uss':
      return (a, b) => (b.ussBytes ?? 0) - (a.ussBytes ?? 0) || a.mapping.start - b.mapping.start;
    default:
      return (a, b) => b[key] - a[key] || b.pages - a.pages || a.mapping.start - b.mapping.start;
  }
}

const BAR_CELLS = 16;
const NARROW_BAR_CELLS = 8;
const NAME_LEAST_COLUMNS = 16;

/** A size column: empty rather than zero, so that the eye finds what is there. */
function size(pages: number): string {
  return pages === 0 ? '' : humanBytes(pages * PAGE_SIZE);
}

const COUNTED = ['swapped', 'file', 'pfnzero', 'huge', 'guard'] as const;

function sizes(counts: PageCounts & Proportions, all: MapsRows): string[] {
  const counted = (name: Exclude<keyof PageCounts, 'pages'>) =>
    all.unknown.includes(name) ? '?' : size(counts[name]);
  const proportion = (name: keyof Proportions) => {
    if (all.totals[name] === undefined) return '';
    const bytes = counts[name];
    return bytes === undefined ? '?' : bytes === 0 ? '' : humanBytes(bytes);
  };
  return [
    humanBytes(counts.pages * PAGE_SIZE),
    counted('present'),
    proportion('pssBytes'),
    proportion('ussBytes'),
    ...COUNTED.map(counted),
  ];
}

const right = (title: string) => ({ title, align: 'right' }) as const;
const left = (title: string) => ({ title, align: 'left' }) as const;
const COLUMNS = [
  left('ADDRESS'),
  left('PROT'),
  right('SIZE'),
  right('PRESENT'),
  right('PSS'),
  right('USS'),
  right('SWAPPED'),
  right('FILE'),
  right('ZERO'),
  right('HUGE'),
  right('GUARD'),
];
/** What a narrow terminal does without, first to last; the bar tells of most of it. */
const DISPENSABLE = ['PROT', 'GUARD', 'ZERO', 'HUGE', 'FILE', 'SWAPPED'];

/** The table of `shown`, some of the rows of `all`, as lines; the last is that of the totals. */
export function mapsTable(shown: readonly MapsRow[], all: MapsRows, style: Style): string[] {
  const numbers = [
    ...shown.map((row) => [hex(row.mapping.start), row.mapping.perms, ...sizes(row, all)]),
    ['total', '', ...sizes(all.totals, all)],
  ];
  // Names take what room is left; where that is too little, the bar shrinks first, then columns go.
  const widths = COLUMNS.map(({ title }, index) => {
    const widest = Math.max(...numbers.map((row) => row[index]!.length));
    return widest === 0 ? 0 : Math.max(widest, title.length) + 2;
  });
  const used = () => widths.reduce((sum, width) => sum + width, 0) + cells + 2;
  let cells = BAR_CELLS;
  if (used() + NAME_LEAST_COLUMNS > style.columns) cells = NARROW_BAR_CELLS;
  for (const title of DISPENSABLE) {
    if (used() + NAME_LEAST_COLUMNS <= style.columns) break;
    widths[COLUMNS.findIndex((column) => column.title === title)] = 0;
  }
  const room = Math.max(style.columns - used(), 1);

  const kept = COLUMNS.filter((_, index) => widths[index]! > 0);
  const names = [...shown.map(({ mapping }) => mappingLabel(mapping)), plural(all.rows.length, 'mapping')];
  const bars = [...shown.map(({ kinds }) => kinds), all.kinds];
  const lines = tableLines(
    [...kept, left('PAGES'), left('NAME')],
    numbers.map((row, index) => [
      ...row.filter((_, column) => widths[column]! > 0),
      bar(bars[index]!, cells, style),
      shorten(names[index]!, room, style),
    ]),
  );
  const { colors } = style;
  return lines.map((line, index) => (index === 0 || index === lines.length - 1 ? colors.bold(line) : line));
}

/** The same with proportional and unique sets. */
function withProportions(counted: MapsRows, smaps: readonly SmapsMapping[]): MapsRows {
  const found = proportions(
    counted.rows.map(({ mapping }) => mapping),
    smaps,
  );
  const rows = counted.rows.map((row, index) => ({ ...row, ...found[index] }));
  return { ...counted, rows, totals: { ...counted.totals, ...sumProportions(found) } };
}

/** The work of `pmscan maps`. */
export async function mapsCommand(target: string, options: MapsOptions): Promise<ExitCode> {
  using pagemap = await openPages(target);
  using interrupt = new Interrupt();
  const isProportional = options.pss === true || options.sort === 'pss' || options.sort === 'uss';
  if (isProportional && pagemap.read === undefined)
    throw new CliError(
      EXIT.usage,
      'Cannot tell PSS and USS of a snapshot: they were not noted; leave out --pss',
    );
  let counted = await countRows(pagemap, pagemap.mappings(), {
    step: async () => !(await interrupt.check()),
    categories: pagemap.categories,
    partial: pagemap.provider === 'fallback',
  });
  // Half of a table would be a wrong table: of a scan that was cut short nothing is shown.
  if (counted === undefined) {
    process.stderr.write('pmscan: interrupted before all mappings were counted\n');
    return EXIT.interrupted;
  }
  if (isProportional) counted = withProportions(counted, parseSmaps(pagemap.read!('smaps')));
  pagemap.checkAlive();

  const { rows, totals } = counted;
  rows.sort(compare(options.sort ?? 'size'));
  const shown = rows.slice(0, options.top ?? rows.length);
  const output = new Output();
  if (options.json) {
    // What could not be told is null: a 0 would be an answer.
    const nulls = Object.fromEntries(counted.unknown.map((name) => [name, null]));
    const document = {
      schema: MAPS_SCHEMA,
      pid: pagemap.pid,
      ...pagemap.origin,
      pageSize: PAGE_SIZE,
      mappings: shown.map(({ kinds: _kinds, mapping, ...counts }) => ({
        start: hex(mapping.start),
        end: hex(mapping.end),
        prot: mapping.perms,
        name: mapping.name,
        ...counts,
        ...nulls,
        ...(isProportional && { pssBytes: counts.pssBytes ?? null, ussBytes: counts.ussBytes ?? null }),
        ...(mapping.deleted ? { deleted: true } : {}),
      })),
      totals: { mappings: rows.length, ...totals, ...nulls },
    };
    output.line(JSON.stringify(document, null, 2));
  } else {
    const style = outputStyle(options.color !== false);
    if (pagemap.provider === 'fallback') tellProvider(pagemap.categories);
    const title = printable(pagemap.title);
    output.line(
      `${style.colors.bold(title)}: ${plural(rows.length, 'mapping')} by ${options.sort ?? 'size'}`,
    );
    for (const line of mapsTable(shown, counted, style)) output.line(line);
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
    .argument('<pid>', 'process number, or the name of one process; or a snapshot, DIR@N')
    .addOption(new Option('--sort <key>', 'order of the mappings').choices(SORT_KEYS).default('size'))
    .option('--top <n>', 'show the first n mappings only', parseCount)
    .option('--pss', 'how much of it is shared: two more columns, from smaps')
    .option('--json', 'one JSON document, counts in pages')
    .addHelpText(
      'after',
      `
Columns: SIZE is address space; PRESENT is in memory now; SWAPPED is swapped out or marked; FILE, ZERO, HUGE and GUARD
are pages of files and shared memory, of the shared zero page, mapped as huge pages, and guard pages. A page may count
in several columns. PAGES shows each mapping's pages in proportion. With --pss, PSS has each page divided by how many
have it mapped, and USS the pages that nobody else has.

Examples:
  pmscan maps 1234
  pmscan maps redis-server --sort present --top 20
  pmscan maps postgres --sort pss               what of it would be free without this process
  pmscan maps postgres --json | jq '.totals.swapped * 4096'`,
    )
    .action((target: string, _options: MapsOptions, command: Command) =>
      run(() => mapsCommand(target, command.optsWithGlobals())),
    );
}
