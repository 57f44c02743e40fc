import { type Command, Option } from 'commander';
import { categoryNames, type Pagemap, RegionBuffer } from '../../abi/index.js';
import { firstIndex } from '../../abi/internal.js';
import { kernelCategories } from '../../live/index.js';
import {
  besideLabel,
  OWNER_KINDS,
  type Owner,
  type OwnerKind,
  ownedLabel,
  ownerText,
} from '../../owners/internal.js';
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
  sumCounts,
} from '../../query/internal.js';
import { bar, legend } from '../bar.js';
import { type Column, loadWidths, shorten, tableLines, wrapText } from '../columns.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { ownedMappings, type Pages } from '../looked-at.js';
import { parseCount } from '../options.js';
import { Output } from '../output.js';
import { openPages } from '../pages.js';
import { type Proportions, proportions, sumProportions } from '../proportions.js';
import { TARGET, tellProvider } from '../target.js';
import { hex, humanBytes, outputStyle, plural, printable, type Style } from '../text.js';

export const MAPS_SCHEMA = 'pagemap-scan/maps@1';

const SORT_KEYS = ['size', 'present', 'swapped', 'pss', 'uss', 'address', 'name'] as const;
type SortKey = (typeof SORT_KEYS)[number];

export interface MapsOptions {
  readonly sort?: SortKey | undefined;
  readonly top?: number | undefined;
  readonly by?: 'owner' | undefined;
  readonly pss?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
}

/** Anything with a range, protection and name can be a row: mappings are, and the parts of a sample. */
export type RowSource = AddressRange & {
  readonly perms: string;
  readonly name: string;
  readonly deleted?: boolean | undefined;
  readonly owner?: Owner | undefined;
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
  readonly pageSize: number;
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
  const { pageSize } = pagemap;
  const kinds = mappings.map(() => PAGE_KINDS.map(() => 0));
  const summarizer = new MappingSummarizer(mappings, pageSize, (index, pages, categories) => {
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
  return { rows, totals: summarizer.totals(), kinds: all, pageSize, unknown: [] };
}

/** The rows of `all` in an order. */
export function sortedRows(all: MapsRows, key: SortKey): MapsRow[] {
  if (key !== 'name') return all.rows.toSorted(compare(key));
  // As they are shown, under NAME: by owners, where these say more than the kernel.
  const names = new Map(all.rows.map((row) => [row, nameOf(row, all)]));
  const byAddress = compare('address');
  return all.rows.toSorted((a, b) => {
    const [first, second] = [names.get(a)!, names.get(b)!];
    return first < second ? -1 : first > second ? 1 : byAddress(a, b);
  });
}

function compare(key: Exclude<SortKey, 'name'>): (a: MapsRow, b: MapsRow) => number {
  switch (key) {
    case 'size':
      return (a, b) => b.pages - a.pages || b.present - a.present || a.mapping.start - b.mapping.start;
    case 'address':
      return (a, b) => a.mapping.start - b.mapping.start;
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
function size(pages: number, pageSize: number): string {
  return pages === 0 ? '' : humanBytes(pages * pageSize);
}

const COUNTED = ['swapped', 'file', 'pfnzero', 'huge', 'guard'] as const;

function sizes(counts: PageCounts & Proportions, all: MapsRows): string[] {
  const counted = (name: Exclude<keyof PageCounts, 'pages'>) =>
    all.unknown.includes(name) ? '?' : size(counts[name], all.pageSize);
  const proportion = (name: keyof Proportions) => {
    if (all.totals[name] === undefined) return '';
    const bytes = counts[name];
    return bytes === undefined ? '?' : bytes === 0 ? '' : humanBytes(bytes);
  };
  return [
    humanBytes(counts.pages * all.pageSize),
    counted('present'),
    proportion('pssBytes'),
    proportion('ussBytes'),
    ...COUNTED.map(counted),
  ];
}

const right = (title: string) => ({ title, align: 'right' }) as const;
const left = (title: string) => ({ title, align: 'left' }) as const;
const COUNT_COLUMNS = [
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

/** A line of a table: what stands before the counts, and the name behind them. */
interface TableLine {
  readonly leading: readonly string[];
  readonly counts: PageCounts & Proportions;
  readonly kinds: readonly number[];
  readonly name: string;
}

/** A table of counts as lines; the last is that of the totals. */
function countsTable(
  leading: readonly Column[],
  shown: readonly TableLine[],
  total: TableLine,
  all: MapsRows,
  style: Style,
  nameTitle: string,
  leastName = NAME_LEAST_COLUMNS,
): string[] {
  const columns = [...leading, ...COUNT_COLUMNS];
  const rows = [...shown, total];
  const numbers = rows.map(({ leading: first, counts }) => [...first, ...sizes(counts, all)]);
  // Names take what room is left; where that is too little, the bar shrinks first, then columns go.
  const widths = columns.map(({ title }, index) => {
    const widest = numbers.reduce((most, row) => Math.max(most, row[index]!.length), 0);
    return widest === 0 ? 0 : Math.max(widest, title.length) + 2;
  });
  const used = () => widths.reduce((sum, width) => sum + width, 0) + cells + 2;
  let cells = BAR_CELLS;
  if (used() + leastName > style.columns) cells = NARROW_BAR_CELLS;
  for (const title of DISPENSABLE) {
    if (used() + leastName <= style.columns) break;
    const index = columns.findIndex((column) => column.title === title);
    if (index >= 0) widths[index] = 0;
  }
  const room = Math.max(style.columns - used(), 1);

  const lines = tableLines(
    [...columns.filter((_, index) => widths[index]! > 0), left('PAGES'), left(nameTitle)],
    numbers.map((row, index) => [
      ...row.filter((_, column) => widths[column]! > 0),
      bar(rows[index]!.kinds, cells, style),
      shorten(rows[index]!.name, room, style),
    ]),
  );
  const { colors } = style;
  return lines.map((line, index) => (index === 0 || index === lines.length - 1 ? colors.bold(line) : line));
}

function totalLine(leading: readonly string[], { totals, kinds, rows }: MapsRows): TableLine {
  return { leading, counts: totals, kinds, name: plural(rows.length, 'mapping') };
}

/** A mapping as people see it; of what nobody has a name for, what is beside it. */
function nameOf({ mapping }: MapsRow, { rows }: MapsRows): string {
  const label = ownedLabel(mapping, mapping.owner);
  // All rows are in address order.
  const index = firstIndex(rows.length, (at) => rows[at]!.mapping.start >= mapping.start);
  const beside = besideLabel(mapping, rows[index - 1]?.mapping, rows[index + 1]?.mapping);
  return beside === undefined ? label : `${label} ${beside}`;
}

/**
 * The table of `shown`, some of the rows of `all`, as lines; the last is that of the totals.
 *
 * @param leastName the room that names get before there is any for other columns
 */
export function mapsTable(
  shown: readonly MapsRow[],
  all: MapsRows,
  style: Style,
  leastName?: number,
): string[] {
  const lines = shown.map((row) => ({
    leading: [hex(row.mapping.start), row.mapping.perms],
    counts: row,
    kinds: row.kinds,
    name: nameOf(row, all),
  }));
  const leading = [left('ADDRESS'), left('PROT')];
  return countsTable(leading, lines, totalLine(['total', ''], all), all, style, 'NAME', leastName);
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

/** All mappings of owners of one kind. */
export interface OwnerRow extends PageCounts, Proportions {
  /** Undefined for memory of which nothing is known. */
  readonly kind: OwnerKind | undefined;
  /** Whether most of what is present is known for sure; of what is mapped, where nothing is present. */
  readonly sure: boolean;
  readonly mappings: number;
  readonly kinds: readonly number[];
}

/** The rows added up by the kinds of their owners. */
export function ownerRows({ rows }: MapsRows): OwnerRow[] {
  const groups = new Map<OwnerKind | undefined, MapsRow[]>();
  for (const row of rows) {
    const kind = row.mapping.owner?.kind;
    const group = groups.get(kind);
    if (group === undefined) groups.set(kind, [row]);
    else group.push(row);
  }
  return [...groups].map(([kind, members]) => {
    const sum = (value: (row: MapsRow) => number) => members.reduce((total, row) => total + value(row), 0);
    const proportionOf = (name: keyof Proportions) =>
      members.some((row) => row[name] !== undefined) ? { [name]: sum((row) => row[name] ?? 0) } : {};
    // Where nothing is in memory, what is mapped counts.
    const isPresent = members.some(({ present }) => present > 0);
    const weight = (row: MapsRow) =>
      (isPresent ? row.present : row.pages) * (row.mapping.owner?.sure === true ? 1 : -1);
    return {
      kind,
      sure: kind !== undefined && sum(weight) > 0,
      mappings: members.length,
      kinds: PAGE_KINDS.map((_, index) => sum((row) => row.kinds[index]!)),
      ...sumCounts(members),
      ...proportionOf('pssBytes'),
      ...proportionOf('ussBytes'),
    };
  });
}

const ownerTitle = ({ kind, sure }: OwnerRow) =>
  kind === undefined ? '[anon]' : `${OWNER_KINDS[kind]}${sure ? '' : '?'}`;

function compareOwners(sort: SortKey): (a: OwnerRow, b: OwnerRow) => number {
  const byTitle = (a: OwnerRow, b: OwnerRow) => (ownerTitle(a) < ownerTitle(b) ? -1 : 1);
  switch (sort) {
    // A kind of owner has no address of its own.
    case 'address':
    case 'name':
      return byTitle;
    case 'size':
      return (a, b) => b.pages - a.pages || byTitle(a, b);
    case 'pss':
      return (a, b) => (b.pssBytes ?? 0) - (a.pssBytes ?? 0) || byTitle(a, b);
    case 'uss':
      return (a, b) => (b.ussBytes ?? 0) - (a.ussBytes ?? 0) || byTitle(a, b);
    default:
      return (a, b) => b[sort] - a[sort] || b.pages - a.pages || byTitle(a, b);
  }
}

function ownersTable(shown: readonly OwnerRow[], all: MapsRows, style: Style): string[] {
  const lines = shown.map((row) => ({
    leading: [String(row.mappings)],
    counts: row,
    kinds: row.kinds,
    name: ownerTitle(row),
  }));
  return countsTable(
    [right('MAPPINGS')],
    lines,
    totalLine([String(all.rows.length)], all),
    all,
    style,
    'OWNER',
  );
}

/** What nobody can access, and where nothing is. */
function isEmptyReserve({ mapping, present, swapped, guard }: MapsRow): boolean {
  return mapping.perms === '---p' && present === 0 && swapped === 0 && guard === 0;
}

/** The counts with PSS and USS where they are asked for; undefined when that was interrupted. */
async function countTarget(pagemap: Pages, isProportional: boolean): Promise<MapsRows | undefined> {
  using interrupt = new Interrupt();
  const counted = await countRows(pagemap, ownedMappings(pagemap), {
    step: async () => !(await interrupt.check()),
    categories: pagemap.categories,
    partial: pagemap.provider === 'fallback',
  });
  if (counted === undefined || !isProportional) return counted;
  return withProportions(counted, parseSmaps(pagemap.read!('smaps')));
}

/** The one JSON document. */
function mapsDocument(
  pagemap: Pages,
  counted: MapsRows,
  shown: readonly MapsRow[] | readonly OwnerRow[],
  isProportional: boolean,
): object {
  // What could not be told is null: a 0 would be an answer.
  const nulls = Object.fromEntries(counted.unknown.map((name) => [name, null]));
  const numbers = (counts: PageCounts & Proportions) => ({
    ...counts,
    ...nulls,
    ...(isProportional && { pssBytes: counts.pssBytes ?? null, ussBytes: counts.ussBytes ?? null }),
  });
  const mappingOf = ({ kinds: _kinds, mapping, ...counts }: MapsRow) => ({
    start: hex(mapping.start),
    end: hex(mapping.end),
    prot: mapping.perms,
    name: mapping.name,
    owner: mapping.owner === undefined ? null : ownerText(mapping.owner),
    ownerKind: mapping.owner?.kind ?? null,
    ...numbers(counts),
    ...(mapping.deleted ? { deleted: true } : {}),
  });
  const ownerOf = ({ kinds: _kinds, kind, mappings, sure, ...counts }: OwnerRow) => ({
    kind: kind ?? null,
    sure,
    mappings,
    ...numbers(counts),
  });
  return {
    schema: MAPS_SCHEMA,
    pid: pagemap.pid,
    ...pagemap.origin,
    pageSize: pagemap.pageSize,
    ...(isOwnerRows(shown) ? { owners: shown.map(ownerOf) } : { mappings: shown.map(mappingOf) }),
    totals: { mappings: counted.rows.length, ...counted.totals, ...nulls },
  };
}

function isOwnerRows(rows: readonly MapsRow[] | readonly OwnerRow[]): rows is readonly OwnerRow[] {
  return rows[0] !== undefined && 'kind' in rows[0];
}

const moreLine = (what: string) => `${what} more; the totals count them, --top shows them`;

/** The tables, and what is left out of them, as lines. */
export function mapsText(counted: MapsRows, options: MapsOptions, sort: SortKey, style: Style): string[] {
  if (options.by === 'owner') {
    const owners = ownerRows(counted).sort(compareOwners(sort));
    const shown = owners.slice(0, options.top ?? owners.length);
    const lines = ownersTable(shown, counted, style);
    if (shown.length < owners.length) lines.push(moreLine(plural(owners.length - shown.length, 'owner')));
    return lines;
  }
  const rows = sortedRows(counted, sort);
  // Where no order was asked for, nothing is to be seen in what is only reserved.
  const folded = options.sort === undefined ? rows.filter(isEmptyReserve) : [];
  const kept = options.sort === undefined ? rows.filter((row) => !isEmptyReserve(row)) : rows;
  const shown = kept.slice(0, options.top ?? kept.length);
  const lines = mapsTable(shown, counted, style);
  if (folded.length > 0) {
    const bytes = folded.reduce((sum, { pages }) => sum + pages * counted.pageSize, 0);
    lines.push(
      ...wrapText(
        `${plural(folded.length, 'mapping')} more that nobody can access, ${humanBytes(bytes)} of address space with nothing in them; --sort address shows them`,
        style.columns,
      ),
    );
  }
  if (shown.length < kept.length) {
    lines.push(moreLine(plural(kept.length - shown.length, 'mapping')));
  }
  return lines;
}

/** The work of `pmscan maps`. */
export async function mapsCommand(target: string, options: MapsOptions): Promise<ExitCode> {
  using pagemap = await openPages(target);
  const isProportional = options.pss === true || options.sort === 'pss' || options.sort === 'uss';
  if (isProportional && pagemap.read === undefined) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell PSS and USS of a snapshot: they were not noted; leave out --pss',
    );
  }
  const counted = await countTarget(pagemap, isProportional);
  // Half of a table would be a wrong table: of a scan that was cut short nothing is shown.
  if (counted === undefined) {
    process.stderr.write('pmscan: interrupted before all mappings were counted\n');
    return EXIT.interrupted;
  }
  pagemap.checkAlive();

  const output = new Output();
  if (options.json) {
    const sort = options.sort ?? 'size';
    const all =
      options.by === 'owner' ? ownerRows(counted).sort(compareOwners(sort)) : sortedRows(counted, sort);
    const document = mapsDocument(pagemap, counted, all.slice(0, options.top ?? all.length), isProportional);
    output.line(JSON.stringify(document, null, 2));
  } else {
    const style = outputStyle(options.color !== false);
    const sort = options.sort ?? 'present';
    if (pagemap.provider === 'fallback') tellProvider(pagemap.categories);
    const title = printable(pagemap.title);
    output.line(
      `${style.colors.bold(title)}: ${plural(counted.rows.length, 'mapping')} by ${options.by === 'owner' ? 'owner, then ' : ''}${sort}`,
    );
    await loadWidths(counted.rows.map(({ mapping }) => ownedLabel(mapping, mapping.owner)));
    for (const line of mapsText(counted, options, sort, style)) output.line(line);
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
    .argument('<pid>', `${TARGET}; or a snapshot, DIR@N, or DIR for the newest`)
    .addOption(
      new Option('--sort <key>', 'order of the mappings; present by default, size in JSON').choices(
        SORT_KEYS,
      ),
    )
    .addOption(new Option('--by <what>', 'add up mappings with owners of the same kind').choices(['owner']))
    .option('--top <n>', 'show the first n mappings only', parseCount)
    .option('--pss', 'how much of it is shared: two more columns, from smaps')
    .option('--json', 'one JSON document, counts in pages')
    .addHelpText(
      'after',
      `
Columns: SIZE is address space; PRESENT is in memory now; SWAPPED is swapped out or marked; FILE, ZERO, HUGE and GUARD
are pages of files and shared memory, of the shared zero page, mapped as huge pages, and guard pages. A page may count
in several columns. PAGES shows each mapping's pages in proportion. With --pss, PSS divides each page by the number of
processes that map it; USS counts the pages that no other process maps. Memory without a file is called after its
owner: [v8 old space], [stack: main 1234]; a ? marks what is only likely, and [anon] is memory without a known owner,
with its neighbour.

Examples:
  pmscan maps 1234
  pmscan maps 1234 --by owner                   whose memory it is, in sums
  pmscan maps redis-server --top 20
  pmscan maps postgres --sort uss               what of it would be free without this process
  pmscan maps postgres --json | jq '.totals.swapped * .pageSize'`,
    )
    .action((target: string, _options: MapsOptions, command: Command) =>
      run(() => mapsCommand(target, command.optsWithGlobals())),
    );
}
