import type { Command } from 'commander';
import {
  CATEGORIES,
  categoryNames,
  PAGE_IS_HUGE,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  RegionBuffer,
  UnknownCategoryError,
} from '../../abi/index.js';
import { isEnded, type ProcessError } from '../../live/internal.js';
import { type Owner, ownedLabel, ownedMatcher, ownerText } from '../../owners/internal.js';
import {
  type AddressRange,
  compileWhere,
  legRanges,
  type Query,
  RegionDealer,
  RegionJoiner,
  scanLegs,
} from '../../query/internal.js';
import { loadWidths, shorten } from '../columns.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { type OwnedMapping, ownedMappings, type Pages } from '../looked-at.js';
import { intersectRanges, mergeRanges, parseCategories, parseCount, parseRange } from '../options.js';
import { Output } from '../output.js';
import { openPages } from '../pages.js';
import { TARGET, tellProvider } from '../target.js';
import { hex, humanBytes, humanCount, outputStyle, plural, printable, type Style } from '../text.js';

export const SCAN_SCHEMA = 'pagemap-scan/scan@1';

export interface ScanOptions {
  readonly where?: string | undefined;
  readonly range?: AddressRange[] | undefined;
  readonly mapping?: string | undefined;
  readonly return?: number | undefined;
  readonly maxPages?: number | undefined;
  readonly json?: boolean | undefined;
  readonly color?: boolean | undefined;
}

interface NamedMapping {
  readonly name: string;
  readonly deleted?: boolean | undefined;
  readonly owner?: Owner | undefined;
}

/** Where the found regions go. `mapping` is undefined for one that appeared while we scanned. */
export interface RegionSink {
  region(start: number, end: number, categories: number, mapping: NamedMapping | undefined): void;
  end(totals: { regions: number; pages: number }, incomplete: string | undefined): void;
}

function jsonSink(output: Output, { pid, origin, pageSize }: Pages): RegionSink {
  let separator = '';
  const begin = JSON.stringify({ schema: SCAN_SCHEMA, pid, ...origin, pageSize }).slice(0, -1);
  const open = () => {
    if (separator === '') output.write(`${begin},"regions":[`);
  };
  return {
    region(start, end, categories, mapping) {
      open();
      const region = {
        start: hex(start),
        end: hex(end),
        pages: (end - start) / pageSize,
        categories: categoryNames(categories),
        mapping: mapping?.name ?? null,
        owner: mapping?.owner === undefined ? null : ownerText(mapping.owner),
      };
      output.write(`${separator}\n${JSON.stringify(region)}`);
      separator = ',';
    },
    end(totals, incomplete) {
      open();
      const rest = incomplete === undefined ? { totals } : { totals, incomplete };
      output.line(`\n],${JSON.stringify(rest).slice(1)}`);
    },
  };
}

/** Lines are written as they come, so that none can wait for the widest: this is wide enough for what is common. */
const CATEGORIES_WIDTH = 'written file present huge'.length;
const NARROW_CATEGORIES_WIDTH = 'written file present'.length;
/** Below this many columns the end of a region is left out: its size tells it, too. */
const WIDE_COLUMNS = 110;

/** A line a region, and one for the totals. */
export function textSink(output: Pick<Output, 'line'>, style: Style, pageSize: number): RegionSink {
  const { colors } = style;
  const wide = style.columns >= WIDE_COLUMNS;
  const categoriesWidth = wide ? CATEGORIES_WIDTH : NARROW_CATEGORIES_WIDTH;
  const line = (start: string, end: string, pages: string, size: string): string => {
    const middle = wide ? `${end.padEnd(14)}  ` : '';
    return `${start.padEnd(14)}  ${middle}${pages.padStart(10)}  ${size.padStart(8)}  `;
  };
  let titled = false;
  return {
    region(start, end, categories, mapping) {
      if (!titled) {
        const title = line('START', 'END', 'PAGES', 'SIZE');
        output.line(colors.bold(`${title}${'CATEGORIES'.padEnd(categoriesWidth)}  MAPPING`));
        titled = true;
      }
      const numbers = line(
        hex(start),
        hex(end),
        humanCount((end - start) / pageSize),
        humanBytes(end - start),
      );
      const names = (categoryNames(categories).join(' ') || '-').padEnd(categoriesWidth);
      const room = Math.max(style.columns - numbers.length - names.length - 2, 1);
      const label = mapping === undefined ? '(new mapping)' : ownedLabel(mapping, mapping.owner);
      output.line(`${numbers}${colors.cyan(names)}  ${shorten(label, room, style)}`);
    },
    end({ regions, pages }, incomplete) {
      const what = `${plural(pages, 'page')} (${humanBytes(pages * pageSize)}) in ${plural(regions, 'region')}`;
      output.line(incomplete === undefined ? what : `${what}; ${incomplete}, so there may be more`);
    },
  };
}

/** The fallback and snapshots say by themselves what they cannot tell, and why. */
function checkKernelKnows({ provider, categories: known }: Pages, categories: number): void {
  const missing = categories & ~known;
  if (missing === 0 || provider !== 'ioctl') return;
  throw new CliError(
    EXIT.unsupported,
    `Cannot use the category ${categoryNames(missing).join(', ')}: this kernel does not know it\n` +
      'softdirty came after Linux 6.7, guard with Linux 6.15, accessed with Linux 7.3; `pmscan doctor` says what this kernel has',
  );
}

/**
 * As `scanLegs`. Where it cannot be told which pages are huge, and nobody has asked for just that, the rest is told and a message
 * says so.
 */
function* legs(
  pagemap: Pages,
  query: Query & { returnMask: number },
  buffer: RegionBuffer,
  mayLeaveOut: boolean,
): Generator<RegionBuffer> {
  let at = query.start;
  try {
    for (const found of scanLegs(pagemap, query, { buffer })) {
      const end = found.end(found.length - 1);
      yield found;
      at = end;
    }
  } catch (error) {
    const isHuge = error instanceof UnknownCategoryError && error.categories === PAGE_IS_HUGE;
    if (!isHuge || !mayLeaveOut || query.maxPages) throw error;
    process.stderr.write(
      `pmscan: from ${hex(at)} to ${hex(query.end)} huge pages are shown as others: ${error.hint}\n`,
    );
    yield* scanLegs(
      pagemap,
      { ...query, start: at, returnMask: query.returnMask & ~PAGE_IS_HUGE },
      { buffer },
    );
  }
}

/**
 * Whether pages are called written only because nobody tracks them. That is told by the categories that were asked for.
 *
 * @param found all categories that any of the pages has
 */
export function isWrittenUntracked(found: number, returnMask: number): boolean {
  return (
    (returnMask & PAGE_IS_WPALLOWED) !== 0 &&
    (found & (PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED)) === PAGE_IS_WRITTEN
  );
}

const untrackedNote = (pid: number) =>
  `written: the writes to these pages are not tracked, so they count as written; \`pmscan watch ${pid}\` tracks them`;

/** Rounded outwards to whole pages. */
function wholePages({ start, end }: AddressRange, pageSize: number): AddressRange {
  return { start: Math.floor(start / pageSize) * pageSize, end: Math.ceil(end / pageSize) * pageSize };
}

function* chooseRanges(
  mappings: readonly OwnedMapping[],
  options: ScanOptions,
  pageSize: number,
): Generator<AddressRange> {
  if (options.mapping === undefined && options.range === undefined) {
    // One call may cover many mappings and the gaps between: what appears there meanwhile is found, too.
    yield* legRanges(mappings);
    return;
  }
  let chosen = mergeRanges(mappings);
  if (options.mapping !== undefined) {
    const matches = ownedMatcher(options.mapping);
    chosen = mergeRanges(mappings.filter(({ name, owner }) => matches(name, owner)));
    if (chosen.length === 0) {
      throw new CliError(
        EXIT.failed,
        `Cannot find a mapping that matches ${printable(options.mapping)}; \`pmscan maps\` lists them`,
      );
    }
  }
  if (options.range !== undefined) {
    const ranges = options.range.map((range) => wholePages(range, pageSize));
    chosen = intersectRanges(mergeRanges(ranges), chosen);
  }
  // Each range by itself: nothing outside of them is looked at.
  for (const range of chosen) yield* legRanges([range]);
}

/** The work of `pmscan scan`. */
export async function scanCommand(target: string, options: ScanOptions): Promise<ExitCode> {
  const filter = options.where === undefined ? {} : compileWhere(options.where);
  using pagemap = await openPages(target);
  const { categoryInverted = 0, categoryMask = 0, categoryAnyofMask = 0 } = filter as Partial<Query>;
  const returnMask = options.return ?? pagemap.categories;
  checkKernelKnows(pagemap, categoryInverted | categoryMask | categoryAnyofMask | returnMask);

  const { pageSize } = pagemap;
  const mappings = ownedMappings(pagemap);
  const output = new Output();
  if (pagemap.provider === 'fallback' && !options.json) tellProvider(pagemap.categories);
  if (!options.json) await loadWidths(mappings.map((mapping) => ownedLabel(mapping, mapping.owner)));
  const sink = options.json
    ? jsonSink(output, pagemap)
    : textSink(output, outputStyle(options.color !== false), pageSize);
  const totals = { regions: 0, pages: 0 };
  let foundCategories = 0;
  const dealer = new RegionDealer(mappings, (index, start, end, categories) => {
    foundCategories |= categories;
    totals.regions++;
    totals.pages += (end - start) / pageSize;
    sink.region(start, end, categories, index < 0 ? undefined : mappings[index]);
  });
  const joiner = new RegionJoiner((start, end, categories) => dealer.add(start, end, categories));

  using interrupt = new Interrupt();
  const buffer = new RegionBuffer(8192);
  let pagesLeft = options.maxPages ?? Number.POSITIVE_INFINITY;
  let interrupted = false;
  let ended: ProcessError | undefined;
  try {
    scanning: for (const range of chooseRanges(mappings, options, pageSize)) {
      const query = {
        ...range,
        categoryInverted,
        categoryMask,
        categoryAnyofMask,
        returnMask,
        maxPages: Number.isFinite(pagesLeft) ? pagesLeft : 0,
      };
      for (const found of legs(pagemap, query, buffer, options.return === undefined)) {
        pagesLeft -= found.totalPages();
        joiner.addAll(found);
        await output.drain();
        interrupted = await interrupt.check();
        if (interrupted) break scanning;
      }
      if (pagesLeft <= 0) break;
      interrupted = await interrupt.check();
      if (interrupted) break;
    }
    // Not every kernel says so by itself.
    pagemap.checkAlive();
  } catch (error) {
    if (!isEnded(error)) throw error;
    ended = error;
  }
  joiner.flush();

  if (ended !== undefined && totals.regions === 0) throw ended;
  sink.end(totals, interrupted ? 'interrupted' : ended === undefined ? undefined : 'the process ended');
  await output.flush();
  // A snapshot says by itself what was written since the one before.
  if (!options.json && pagemap.provider !== 'snapshot' && isWrittenUntracked(foundCategories, returnMask))
    process.stderr.write(`pmscan: ${untrackedNote(pagemap.pid)}\n`);
  if (interrupted) return EXIT.interrupted;
  // Something was measured, so that this is no longer "no such process".
  if (ended !== undefined) throw new CliError(EXIT.failed, ended.message, { cause: ended });
  return EXIT.done;
}

/** Adds `pmscan scan` to the program. */
export function addScanCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('scan')
    .description('list the pages of a process that match a filter')
    .argument('<pid>', `${TARGET}; or a snapshot, DIR@N, or DIR for the newest`)
    .option(
      '--where <expr>',
      'which pages, e.g. "written & !file & (present | swapped)"; all mapped ones by default',
    )
    .option('--range <a-b>', 'only these addresses: 0xA-0xB or 0xA+SIZE; may be repeated', parseRange)
    .option(
      '--mapping <pattern>',
      'only mappings with this in their name or owner; a pattern with * or ? is for the whole name',
    )
    .option('--return <list>', 'categories to report, e.g. present,file; or none', parseCategories)
    .option('--max-pages <n>', 'stop after this many pages', parseCount)
    .option('--json', 'one JSON document')
    .addHelpText(
      'after',
      `
Categories: ${CATEGORIES.map(({ name }) => name).join(', ')}

Before Linux 7.3, all pages whose writes nobody tracks count as written; \`pmscan watch\` tracks them.

Examples:
  pmscan scan 1234 --where 'present & !file'         anonymous memory
  pmscan scan redis-server --where swapped           what was swapped out
  pmscan scan 1234 --where huge --mapping '[heap]'   huge pages of the heap
  pmscan scan node --mapping 'v8 old' --where present
  pmscan scan 1234 --range 0x7f0000000000+64M --json | jq .totals`,
    )
    .action((target: string, _options: ScanOptions, command: Command) =>
      run(() => scanCommand(target, command.optsWithGlobals())),
    );
}
