/**
 * Iteration over a `Pagemap` that takes care of the ioctl's quirks.
 *
 * A single call may stop early because its output is full, may leave a stale `walkEnd` (Linux 6.12, 6.18),
 * and does not join ranges across its internal buffer. These functions give every matching page once, in
 * address order, in ranges as long as possible.
 */
import { type Pagemap, type Region, RegionBuffer } from '../abi/index.js';

/** What to look for: a `ScanRequest` in plain numbers. See there for the fields. */
export interface Query {
  /** First address, bytes, page-aligned. */
  readonly start: number;
  /** Address behind the last byte. */
  readonly end: number;
  readonly flags?: number | undefined;
  readonly categoryInverted?: number | undefined;
  readonly categoryMask?: number | undefined;
  readonly categoryAnyofMask?: number | undefined;
  readonly returnMask?: number | undefined;
  /** Stop after this many pages over all calls; 0 is no limit. */
  readonly maxPages?: number | undefined;
}

export interface QueryOptions {
  /** The output to use for every call, so that repeated queries allocate nothing; 8,192 regions by default. */
  readonly buffer?: RegionBuffer | undefined;
}

/** 192 KiB, sixteen of the kernel's bounce buffers: a larger buffer would save no measurable time. */
const DEFAULT_CAPACITY = 8192;

/**
 * Scans call by call until the range is done. Yields the output buffer after each call that found pages; it
 * is valid until the next step.
 *
 * @throws PagemapError as `scan` does; what was yielded before stands
 * @example
 * ```ts
 * import { openPagemap, PAGE_IS_PRESENT, RegionBuffer, userSpaceEnd } from 'pagemap-scan';
 * import { scanLegs } from 'pagemap-scan/query';
 * using pagemap = openPagemap('self');
 * const query = { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT };
 * let pages = 0;
 * for (const found of scanLegs(pagemap, query, { buffer: new RegionBuffer(16) })) pages += found.totalPages();
 * console.assert(pages > 256);
 * ```
 */
export function* scanLegs(
  pagemap: Pagemap,
  query: Query,
  options: QueryOptions = {},
): Generator<RegionBuffer, void, undefined> {
  const buffer = options.buffer ?? new RegionBuffer(DEFAULT_CAPACITY);
  const limited = (query.maxPages ?? 0) > 0;
  const leg = { ...query, start: query.start, maxPages: query.maxPages ?? 0 };
  do {
    const { regions, walkEnd } = pagemap.scan(leg, buffer);
    let resume = leg.end;
    if (regions > 0) {
      // Without a limit nobody needs the sum, which costs as much as all else here when regions are short.
      if (limited) leg.maxPages -= buffer.totalPages();
      // Only a full output or spent max_pages stop a walk. With room left it has finished, whatever walkEnd says;
      // with a full output, walkEnd may lag behind the last range, but never behind what was not yet reported.
      if (regions === buffer.capacity) resume = Math.max(walkEnd, buffer.end(regions - 1));
      yield buffer;
    }
    leg.start = resume;
  } while (leg.start < leg.end && (!limited || leg.maxPages > 0));
}

/** Receives regions as plain numbers. */
export type RegionVisitor = (start: number, end: number, categories: number) => void;

/** Joins neighbouring ranges with equal categories before it hands them on. */
export class RegionJoiner {
  readonly #visit: RegionVisitor;
  #start = 0;
  #end = 0;
  #categories = 0;

  constructor(visit: RegionVisitor) {
    this.#visit = visit;
  }

  /** Takes the next range, in address order. */
  add(start: number, end: number, categories: number): void {
    if (start === this.#end && categories === this.#categories && this.#end !== this.#start) {
      this.#end = end;
      return;
    }
    this.flush();
    this.#start = start;
    this.#end = end;
    this.#categories = categories;
  }

  /** Takes all ranges of an output buffer. */
  addAll(buffer: RegionBuffer): void {
    for (let index = 0; index < buffer.length; index++) {
      this.add(buffer.start(index), buffer.end(index), buffer.categories(index));
    }
  }

  /** Hands on the last range, which was held back; call it once at the end. */
  flush(): void {
    if (this.#end !== this.#start) this.#visit(this.#start, this.#end, this.#categories);
    this.#start = this.#end;
  }
}

/**
 * Calls `visit` for every matching run of pages, in address order, neighbours with equal categories joined. Allocates
 * nothing per region.
 *
 * @example
 * ```ts
 * import { forEachRegion, openPagemap, PAGE_IS_PRESENT, userSpaceEnd } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * let bytes = 0;
 * forEachRegion(pagemap, { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT }, (start, end) => {
 *   bytes += end - start;
 * });
 * console.assert(bytes > 1_000_000);
 * ```
 */
export function forEachRegion(
  pagemap: Pagemap,
  query: Query,
  visit: RegionVisitor,
  options?: QueryOptions,
): void {
  const joiner = new RegionJoiner(visit);
  for (const buffer of scanLegs(pagemap, query, options)) joiner.addAll(buffer);
  joiner.flush();
}

/**
 * Every matching run of pages as an object, in address order, neighbours with equal categories joined.
 *
 * @example
 * ```ts
 * import { openPagemap, PAGE_IS_HUGE, regions, userSpaceEnd } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * for (const region of regions(pagemap, { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_HUGE })) {
 *   console.log(region.start.toString(16), (region.end - region.start) / 4096, 'pages');
 * }
 * ```
 */
export function* regions(
  pagemap: Pagemap,
  query: Query,
  options?: QueryOptions,
): Generator<Region, void, undefined> {
  const ready: Region[] = [];
  const joiner = new RegionJoiner((start, end, categories) => ready.push({ start, end, categories }));
  for (const buffer of scanLegs(pagemap, query, options)) {
    joiner.addAll(buffer);
    yield* ready;
    ready.length = 0;
  }
  joiner.flush();
  yield* ready;
}

/**
 * How many pages match.
 *
 * @example
 * ```ts
 * import { countPages, openPagemap, PAGE_IS_SWAPPED, userSpaceEnd } from 'pagemap-scan';
 * using pagemap = openPagemap('self');
 * const pages = countPages(pagemap, { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_SWAPPED });
 * console.assert(pages >= 0);
 * ```
 */
export function countPages(pagemap: Pagemap, query: Query, options?: QueryOptions): number {
  let pages = 0;
  for (const buffer of scanLegs(pagemap, query, options)) pages += buffer.totalPages();
  return pages;
}
