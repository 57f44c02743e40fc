/**
 * The state of a process at one moment: its threads, its mappings, and for each page where its bytes are. It does not change
 * any more, and lasts until the dump ends. What keeps it is a `StateSink`.
 */
import { firstIndex } from '../abi/internal.js';
import type { PageSet } from './page-set.js';
import type { Planned } from './plan.js';
import type { ProcessFacts, ThreadState } from './threads.js';
import { addressIn } from './views.js';

/** Where the bytes of a run of pages are. */
export type PageSource =
  /** As the sink was given them last; zeros, if it never was. */
  | { readonly in: 'sink' }
  /** Copied at the stop: from `at` on. */
  | { readonly in: 'memory'; readonly bytes: Uint8Array<ArrayBuffer>; readonly at: number }
  /** In the process, which stands still as long as the sink keeps the state. */
  | { readonly in: 'process' }
  /** They are those of a mapped file, from `offset` on, which the process has not changed, or which is shared. */
  | { readonly in: 'file'; readonly fd: number; readonly offset: number };

export interface StateMapping extends Planned {
  /**
   * - pages: all its pages; those that have no source are zero
   * - image: what the kernel has put there (the vDSO), in `image`
   * - parts: pages that have a source; of the others nothing is known
   * - zeros: it is there, but its content is not to be kept
   * - header: nothing but its first page, a program's or library's, in `image`
   * - nothing: no page has content, or none is to be kept
   */
  readonly holds: 'pages' | 'parts' | 'zeros' | 'image' | 'header' | 'nothing';
  readonly image?: Uint8Array | undefined;
  /** The address from which on another mapping has the same memory: pages are visited there only. */
  readonly sameAs?: number | undefined;
}

export type PageVisitor = (start: number, end: number, source: PageSource) => void;

export interface ProcessState {
  /** Pages that were written since the state before it, as far as they were tracked; undefined for the first. */
  readonly written?: PageSet | undefined;
  readonly facts: ProcessFacts;
  /** The main one first, if it lives. */
  readonly threads: readonly ThreadState[];
  /** All mappings, in the order of addresses. */
  readonly mappings: readonly StateMapping[];
  /** Calls `visit` for the runs of a mapping's pages that have content, in the order of addresses. */
  visitPages(mapping: StateMapping, visit: PageVisitor): void;
}

/** The pages that were copied at the stop. The bytes of the ranges follow each other. */
export interface KeptPages {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Start and end in turns; in any order. */
  readonly ranges: readonly number[];
}

/** `KeptPages` in the order of addresses: start, end and where its bytes are, in turns. */
function sortKept({ ranges }: KeptPages): number[] {
  const rows: [number, number, number][] = [];
  let at = 0;
  for (let index = 0; index < ranges.length; index += 2) {
    rows.push([ranges[index]!, ranges[index + 1]!, at]);
    at += ranges[index + 1]! - ranges[index]!;
  }
  return rows.sort(([one], [other]) => one - other).flat();
}

export interface StateParts {
  readonly written?: PageSet | undefined;
  readonly facts: ProcessFacts;
  readonly threads: readonly ThreadState[];
  readonly plan: readonly Planned[];
  /** The pages that were copied, at the stop or before. */
  readonly copied: PageSet;
  readonly kept: KeptPages | undefined;
  /** The mappings whose memory another one has, too, see `findViews`. */
  readonly views?: ReadonlyMap<number, Planned> | undefined;
  /** Says where the copied pages of a mapping are, from `start` on, that are not in `kept`. */
  unkept(planned: Planned, start: number): PageSource;
  /** The vDSO and its data, by the mapping's start. */
  readonly images: ReadonlyMap<number, Uint8Array>;
  header(start: number): Uint8Array | undefined;
  /** The file of a private mapping; undefined where all its pages were copied, or it cannot be opened. */
  file(planned: Planned): number | undefined;
}

function describe(planned: Planned, parts: StateParts): StateMapping {
  const { mapping, share } = planned;
  const whole = share === 'none' ? undefined : parts.views?.get(mapping.start);
  if (whole !== undefined) {
    // One that was marked as not to be dumped meanwhile has nothing any more that could be shown.
    const now =
      parts.plan[firstIndex(parts.plan.length, (at) => parts.plan[at]!.mapping.start >= whole.mapping.start)];
    if (now?.mapping.start !== whole.mapping.start || now.share !== whole.share)
      return { ...planned, holds: 'nothing' };
    return { ...describe(whole, parts), ...planned, sameAs: addressIn(whole, planned) };
  }
  const image = parts.images.get(mapping.start);
  if (image !== undefined) return { ...planned, holds: 'image', image };
  if (share === 'zeros' || share === 'parts') return { ...planned, holds: share };
  if (share !== 'none' && share !== 'header') {
    const isWhole = share === 'all' && mapping.inode !== 0;
    if (isWhole || parts.copied.some(mapping.start, mapping.end)) return { ...planned, holds: 'pages' };
  }
  const hasHeader = share === 'header' || share === 'written-else-header';
  const header = hasHeader ? parts.header(mapping.start) : undefined;
  if (header !== undefined) return { ...planned, holds: 'header', image: header };
  return { ...planned, holds: 'nothing' };
}

export function makeState(parts: StateParts): ProcessState {
  const { facts, threads, copied, kept, written } = parts;
  const rows = kept === undefined ? [] : sortKept(kept);
  const mappings = parts.plan.map((planned) => describe(planned, parts));

  /** Index of the first row that ends behind `address`. */
  const find = (address: number): number =>
    firstIndex(rows.length / 3, (row) => rows[row * 3 + 1]! > address) * 3;
  const visitCopied = (planned: Planned, start: number, end: number, visit: PageVisitor): void => {
    let at = start;
    for (let row = find(start); row < rows.length && rows[row]! < end; row += 3) {
      const from = Math.max(at, rows[row]!);
      const to = Math.min(end, rows[row + 1]!);
      if (from > at) visit(at, from, parts.unkept(planned, at));
      visit(from, to, { in: 'memory', bytes: kept!.bytes, at: rows[row + 2]! + (from - rows[row]!) });
      at = to;
    }
    if (at < end) visit(at, end, parts.unkept(planned, at));
  };

  return {
    facts,
    threads,
    mappings,
    written,
    visitPages(planned, visit) {
      if ((planned.holds !== 'pages' && planned.holds !== 'parts') || planned.sameAs !== undefined) return;
      const { start, end, offset } = planned.mapping;
      const fd = parts.file(planned);
      let at = start;
      const visitFile = (to: number) => {
        if (fd !== undefined && to > at) visit(at, to, { in: 'file', fd, offset: offset + (at - start) });
      };
      copied.runs(start, end, true, (from, to) => {
        visitFile(from);
        visitCopied(planned, from, to, visit);
        at = to;
      });
      visitFile(end);
    },
  };
}
