/// <reference lib="esnext.disposable" preserve="true" />
/** PAGEMAP_SCAN for kernels without it: the engine over the files of /proc/PID. */

import {
  ALL_CATEGORIES,
  errnoNumber,
  HUGE_PAGE_SIZE,
  NotSupportedError,
  PAGE_IS_FILE,
  PAGE_IS_GUARD,
  PAGE_IS_HUGE,
  PAGE_IS_PFNZERO,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_WP_MATCHING,
  type RegionBuffer,
  type ScanRequest,
  type ScanResult,
  scanError,
  UnknownCategoryError,
} from '../../abi/internal.js';
import { CheckedRequest, defineScanner, type ScanMapping, type ScanTarget } from '../../engine/internal.js';
import {
  isPrivate,
  isPrivateAnonymous,
  isVvar,
  type Mapping,
  mayBeDevice,
  mayBeHugetlb,
  parseSmaps,
  type SmapsMapping,
} from '../../proc/internal.js';
import { userSpaceEnd } from '../libc.js';
import type { LivePagemap } from '../live-pagemap.js';
import { type ProcessHandle, readPagemap } from '../process.js';
import { ProcessPagemap } from '../process-pagemap.js';
import { CleanPages } from './clean.js';
import { HugeVerdicts, isHugetlb } from './huge.js';
import { fallbackKnowledge, type Knowledge, softDirtyMissing } from './knowledge.js';
import {
  BLOCK_PAGES,
  BLOCK_SLOTS,
  type BlockSource,
  CLEAN,
  FRAME_KINDS,
  GUARD,
  HUGE,
  looksHuge,
  P,
  SOFT_DIRTY,
  SWAP,
  translateWords,
  VOID,
  WORD_FORMAT,
  WORD_PROFILE,
  WordTables,
  wordIsFile,
} from './words.js';

const Scanner = defineScanner(WORD_FORMAT);

/** A mapping as the walk needs it. */
interface Part extends ScanMapping {
  readonly mapping: Mapping;
  readonly anonymous: boolean;
  readonly isHugetlb: boolean;
  /** Whether pages that are not there may have markers, which are not shown for hugetlb. */
  readonly marked: boolean;
  /** Whether writes to it can be tracked. */
  readonly trackable: boolean;
  /** Block behind the last of a run of mappings with no more than a block between them. */
  runEnd: number;
}

/**
 * Private memory keeps its soft-dirty bits whatever becomes of its pages. Of shared memory and files the kernel drops entries, with
 * these bits, when it reclaims pages or makes huge ones.
 */
const keepsSoftDirtyBits = isPrivate;

/** What a mapping is made of; it cannot change while the mapping is there. */
interface Facts {
  readonly device: boolean;
  readonly hugetlb: boolean;
  /** Registered with a userfaultfd at the time it was looked at, which alone may change. */
  readonly userfault: boolean;
}

const DEVICE: Facts = { device: true, hugetlb: false, userfault: false };
const ORDINARY: Facts = { device: false, hugetlb: false, userfault: false };

function identity({ start, end, offset, inode, device, name }: Mapping): string {
  return `${start} ${end} ${offset} ${inode} ${device.major}:${device.minor} ${name}`;
}

/**
 * A process's pages by /proc/PID/pagemap, maps and smaps, for kernels before 6.7. It answers as the ioctl does, with
 * the same order of checks, limits and quirks. It refuses, by name, categories that the files do not tell.
 *
 * @example
 * ```ts
 * import { countPages, openPagemap, PAGE_IS_PRESENT } from 'pagemap-scan';
 * import { FallbackPagemap } from 'pagemap-scan/live';
 * using pagemap = openPagemap('self', { provider: 'fallback' });
 * console.assert(pagemap instanceof FallbackPagemap);
 * const { start, end } = pagemap.mappings().find(({ name }) => name === '[stack]')!;
 * console.assert(countPages(pagemap, { start, end, categoryMask: PAGE_IS_PRESENT }) > 0);
 * ```
 */
export class FallbackPagemap extends ProcessPagemap implements LivePagemap, BlockSource {
  readonly provider = 'fallback';
  readonly pageSize: number = PAGE_SIZE;
  readonly #knowledge: Knowledge;
  readonly #checked = new CheckedRequest(userSpaceEnd());
  readonly #tables = new WordTables(this);
  readonly #target: { -readonly [K in keyof ScanTarget]: ScanTarget[K] };
  readonly #scanner: InstanceType<typeof Scanner>;
  readonly #huge: HugeVerdicts;
  readonly #facts = new Map<string, Facts>();
  #parts: readonly Part[] = [];
  #clean: CleanPages | undefined;
  #wantsHuge = false;
  #wantsHugetlb = false;
  /** The facts are those of this scan. */
  #looked = false;
  #lastEnd = -1;

  /** Use {@link openPagemap}. Takes over `process`: disposing this disposes it. */
  constructor(process: ProcessHandle) {
    const knowledge = process.takenOver(fallbackKnowledge);
    super(process);
    this.#knowledge = knowledge;
    this.#target = {
      userSpaceEnd: userSpaceEnd(),
      profile: WORD_PROFILE,
      tables: this.#tables,
      mappings: [],
      frameKinds: FRAME_KINDS,
      frameBase: 0,
      splitHuge: () => undefined,
    };
    this.#scanner = new Scanner(this.#target);
    this.#huge = new HugeVerdicts({
      readSmaps: () => this.#smaps(),
      readRaw: (words, page) => this.#readRaw(words, page),
    });
  }

  /** The categories that can be told here. */
  get categories(): number {
    return this.#knowledge.categories | (this.#clean === undefined ? 0 : PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED);
  }

  /**
   * From here on WRITTEN is known, and scans can protect. A page is WRITTEN when it was written since a scan of this
   * object last protected it, or was never protected. Private mappings that are not hugetlb are WPALLOWED. In other
   * mappings the kernel forgets writes, for instance when it takes a page of a file out of memory, so all their pages
   * stay WRITTEN.
   *
   * Each protecting scan clears the soft-dirty bits of the whole address space (`/proc/PID/clear_refs`): nobody else
   * may use them.
   *
   * @param pause runs `work` while nobody else writes to the address space: a write between the reading of the bits and their
   *   clearing would be lost
   * @throws PagemapError EOPNOTSUPP where the kernel keeps no such bits
   */
  trackWrites(pause: (work: () => void) => void): void {
    if (!this.#knowledge.softDirty) throw softDirtyMissing(this.pid);
    this.#clean = new CleanPages(this.process, this.fd, pause);
  }

  scan(request: ScanRequest, output: RegionBuffer | null): ScanResult {
    this.checkOpen(request);
    const checked = this.#checked;
    checked.require(request, output, ALL_CATEGORIES, this.pid);
    this.#refuseUnknowable(request);
    const clean = (checked.flags & PM_SCAN_WP_MATCHING) === 0 ? undefined : this.#clean;
    clean?.harvest((mappings) => this.#trackableOf(mappings));
    this.#begin();
    try {
      const result = this.#scanner.scan(request, output);
      this.#tables.flush();
      clean?.commit();
      this.#lastEnd = checked.end * PAGE_SIZE;
      return result;
    } catch (error) {
      if (output !== null && !(error instanceof PagemapError && error.walkEnd !== undefined))
        output.length = 0;
      if (!(error instanceof PagemapError) || error.pid !== undefined) throw error;
      // As the ioctl does: what lies before the mapping that stopped it is protected.
      this.#tables.flush();
      clean?.commit();
      throw scanError(error.errno, request, error.walkEnd, this.pid);
    } finally {
      clean?.forget();
      this.#tables.reset();
    }
  }

  /** @throws PagemapError for categories that the answer depends on and that cannot be known */
  #refuseUnknowable(request: ScanRequest): void {
    const { mask, anyof, returned, flags } = this.#checked;
    const asked = (mask | anyof | returned) & ~this.categories;
    for (const [bit, refusal] of this.#knowledge.refusals) {
      if ((asked & bit) !== 0) throw new UnknownCategoryError(this.pid, bit, refusal, request);
    }
    if (flags !== 0 && this.#clean === undefined) {
      throw new NotSupportedError(
        (flags & PM_SCAN_WP_MATCHING) !== 0 ? 'protect pages' : 'check for write protection',
        {
          errno: errnoNumber('EOPNOTSUPP')!,
          syscall: 'read(pagemap)',
          pid: this.pid,
          start: request.start,
          end: request.end,
          needs: 'Linux 6.7',
          hint: 'without PAGEMAP_SCAN, writes are tracked by trackProcess only',
        },
      );
    }
  }

  /** Takes the list of mappings for a scan. */
  #begin(): void {
    const { start, end, mask, anyof, returned } = this.#checked;
    const [from, to] = [start * PAGE_SIZE, end * PAGE_SIZE];
    this.#wantsHuge = ((mask | anyof | returned) & PAGE_IS_HUGE) !== 0;
    this.#wantsHugetlb =
      this.#clean !== undefined || ((mask | anyof | returned) & (PAGE_IS_HUGE | PAGE_IS_SWAPPED)) !== 0;
    this.#looked = false;
    const all = this.mappings();
    // Asked after the list was taken: had it been another program's by then, this would tell.
    this.checkAlive();
    // More than the range: of blocks that it cuts, too, all is to be known.
    const mappings = all.filter(
      ({ start, end }) => start < to + HUGE_PAGE_SIZE && end > from - HUGE_PAGE_SIZE,
    );
    // A scan that goes on where the last one ended is a part of the same look at the process.
    const last = this.#lastEnd;
    const goesOn =
      last >= 0 &&
      from >= last &&
      (from === last || !all.some(({ start, end }) => end > last && start < from));
    if (!goesOn) this.#huge.reset();
    this.#lastEnd = -1;
    this.#nearGiB = -1;
    const parts = mappings.map((mapping): Part => {
      const facts = this.#factsOf(mapping, mappings);
      const trackable =
        this.#clean !== undefined && keepsSoftDirtyBits(mapping) && !facts.device && !facts.hugetlb;
      return {
        mapping,
        start: mapping.start / PAGE_SIZE,
        end: mapping.end / PAGE_SIZE,
        anonymous: isPrivateAnonymous(mapping),
        isHugetlb: facts.hugetlb,
        marked: facts.userfault,
        trackable,
        uffdWp: false,
        uffdRwp: false,
        wpAllowed: trackable,
        softDirty: false,
        hugetlb: false,
        pfnMap: facts.device,
        runEnd: 0,
      };
    });
    for (let index = parts.length - 1; index >= 0; index--) {
      const part = parts[index]!;
      const next = parts[index + 1];
      part.runEnd =
        next !== undefined && next.start - part.end <= BLOCK_PAGES
          ? next.runEnd
          : Math.ceil(part.end / BLOCK_PAGES);
    }
    this.#parts = parts;
    this.#target.mappings = parts;
  }

  /** @param all the mappings that are looked at: when one has to be looked up, all of them are */
  #factsOf(mapping: Mapping, all: readonly Mapping[]): Facts {
    const isCandidate = (candidate: Mapping) =>
      mayBeDevice(candidate) || (this.#wantsHugetlb && mayBeHugetlb(candidate));
    if (!isCandidate(mapping)) return ORDINARY;
    // Special mappings that are on every process's list.
    if (isVvar(mapping)) return DEVICE;
    if (mapping.name === '[vdso]') return ORDINARY;
    const key = identity(mapping);
    const known = this.#facts.get(key);
    if (known !== undefined && (this.#looked || !known.hugetlb)) return known;
    this.#looked = true;
    // Those of mappings that are gone would pile up.
    this.#facts.clear();
    const candidates = new Set(all.filter(isCandidate).map(identity));
    for (const entry of this.#smaps()) {
      const entryKey = identity(entry);
      if (!candidates.has(entryKey)) continue;
      this.#facts.set(entryKey, {
        device: entry.vmFlags.includes('pf'),
        hugetlb: isHugetlb(entry),
        userfault: entry.vmFlags.includes('uw') || entry.vmFlags.includes('um'),
      });
    }
    return this.#facts.get(key) ?? ORDINARY;
  }

  #smaps(): SmapsMapping[] {
    const mappings = parseSmaps(this.process.read('smaps'));
    this.checkAlive();
    return mappings;
  }

  #readRaw(words: Uint32Array, page: number): void {
    const bytes = readPagemap(this.fd, words, page * PAGE_SIZE);
    if (bytes === words.byteLength) return;
    // Behind the end of the address space there is nothing; of one that is gone, nothing is known.
    if (bytes === 0) this.checkAlive();
    words.fill(0, bytes / 4);
  }

  /** Index of the first mapping that ends behind `page`. */
  #firstPartAfter(page: number): number {
    const parts = this.#parts;
    let low = 0;
    let high = parts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (parts[middle]!.end <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  reach(block: number): number {
    const end = Math.ceil(this.#checked.end / BLOCK_PAGES);
    const part = this.#parts[this.#firstPartAfter(block * BLOCK_PAGES)];
    return Math.min(end, part?.runEnd ?? end);
  }

  load(words: Uint32Array, slot: number, block: number, count: number): void {
    const first = block * BLOCK_PAGES;
    const last = first + count * BLOCK_PAGES;
    this.#readRaw(words.subarray(slot, slot + count * BLOCK_SLOTS), first);
    const { zeroFrame } = this.#knowledge;
    let page = first;
    for (let index = this.#firstPartAfter(first); index < this.#parts.length; index++) {
      const part = this.#parts[index]!;
      if (part.start >= last) break;
      const from = Math.max(part.start, first);
      const to = Math.min(part.end, last);
      words.fill(0, slot + (page - first) * 2, slot + (from - first) * 2);
      const at = slot + (from - first) * 2;
      const marks =
        this.#wantsHuge && !part.isHugetlb ? this.#findHuge(words, slot, first, part, from, to) : [];
      translateWords(words, at, to - from, { anonymous: part.anonymous, zeroFrame });
      for (const [start, known] of marks) this.#markHuge(words, start, BLOCK_PAGES, known);
      if (part.isHugetlb) this.#markHugetlb(words, at, from, to, part.marked);
      if (part.trackable) this.#clean!.mark(words, at, from, to);
      else if (this.#clean !== undefined) markWritten(words, at, to - from);
      page = to;
    }
    words.fill(0, slot + (page - first) * 2, slot + count * BLOCK_SLOTS);
  }

  /** The slots of blocks that are, or may be, mapped by a huge entry; `known` is false for those that only may be. */
  #findHuge(
    words: Uint32Array,
    slot: number,
    first: number,
    part: Part,
    from: number,
    to: number,
  ): [slot: number, known: boolean][] {
    const found: [number, boolean][] = [];
    for (
      let page = Math.ceil(from / BLOCK_PAGES) * BLOCK_PAGES;
      page + BLOCK_PAGES <= to;
      page += BLOCK_PAGES
    ) {
      const at = slot + (page - first) * 2;
      if (!looksHuge(words, at)) continue;
      if (part.anonymous && wordIsFile(words[at + 1]!)) {
        found.push([at, true]);
        continue;
      }
      const verdict = this.#huge.verdict(part.mapping, part.anonymous);
      if (verdict === 'none' || (verdict === 'by frame' && this.#huge.hasHugeFrame(words, at) !== true))
        continue;
      found.push([at, verdict !== 'unknown']);
    }
    return found;
  }

  #markHuge(words: Uint32Array, slot: number, pages: number, known: boolean): void {
    for (const end = slot + pages * 2; slot < end; slot += 2) {
      if (!known) this.#mustNotMatter(words[slot]!, PAGE_IS_HUGE);
      else words[slot] = words[slot]! | HUGE;
    }
  }

  /**
   * Pages [from, to) of a hugetlb mapping. One that is not there is HUGE nevertheless where the kernel has a table for its
   * entry, which shows only when something else in the same GiB is there.
   */
  #markHugetlb(words: Uint32Array, slot: number, from: number, to: number, marked: boolean): void {
    const markers = marked ? PAGE_IS_SWAPPED : 0;
    for (let page = from; page < to; page++, slot += 2) {
      const entry = words[slot]!;
      if ((entry & (P | SWAP)) !== 0) words[slot] = entry | HUGE;
      else {
        const near = !this.#wantsHuge || this.#anythingNear(page);
        if (near) words[slot] = entry | VOID | HUGE;
        if (marked || !near) this.#mustNotMatter(words[slot]!, markers | (near ? 0 : PAGE_IS_HUGE));
      }
    }
  }

  #nearGiB = -1;
  #nearAnswer = false;
  readonly #near = new Uint32Array(2);

  #anythingNear(page: number): boolean {
    const gib = Math.floor(page / (BLOCK_PAGES * 512));
    if (gib === this.#nearGiB) return this.#nearAnswer;
    this.#nearGiB = gib;
    this.#nearAnswer = false;
    for (const part of this.#parts) {
      const step = part.isHugetlb ? BLOCK_PAGES : 1;
      const end = Math.min(part.end, (gib + 1) * BLOCK_PAGES * 512);
      for (let at = Math.max(part.start, gib * BLOCK_PAGES * 512); at < end; at += step) {
        this.#readRaw(this.#near, at);
        if ((this.#near[1]! & 0xc0000000) === 0) continue;
        this.#nearAnswer = true;
        return true;
      }
    }
    return false;
  }

  /** Refuses what cannot be told of a page, unless the answer is the same either way. */
  #mustNotMatter(entry: number, unknown: number): void {
    const { returned, mask, anyof, inverted, start, end } = this.#checked;
    const matches = (categories: number) => {
      const judged = categories ^ inverted;
      return (judged & mask) === mask && (anyof === 0 || (judged & anyof) !== 0);
    };
    const categories = categoriesOf(entry);
    const first = matches(categories);
    let matters = first && (returned & unknown) !== 0;
    for (const bits of [PAGE_IS_HUGE, PAGE_IS_SWAPPED, PAGE_IS_HUGE | PAGE_IS_SWAPPED]) {
      if ((bits & ~unknown) === 0 && matches(categories | bits) !== first) matters = true;
    }
    if (!matters) return;
    const hint =
      (unknown & PAGE_IS_SWAPPED) === 0
        ? 'smaps gives only their number here, not which pages they are; run as root, or leave this category out'
        : 'a userfaultfd may have put markers into hugetlb memory, which pagemap does not show';
    throw new UnknownCategoryError(
      this.pid,
      unknown,
      { code: 'EOPNOTSUPP', hint },
      { start: start * PAGE_SIZE, end: end * PAGE_SIZE },
    );
  }

  isEmpty(words: Uint32Array, slot: number): boolean {
    for (const end = slot + BLOCK_SLOTS; slot < end; slot += 2) if (words[slot] !== 0) return false;
    return true;
  }

  leave(words: Uint32Array, slot: number, block: number, count: number): void {
    if ((this.#checked.flags & PM_SCAN_WP_MATCHING) !== 0) this.#clean?.stage(words, slot, block, count);
  }

  /** Those of the mappings that are hugetlb memory. */
  hugetlbMappings(mappings: readonly Mapping[]): Set<Mapping> {
    this.#wantsHugetlb = true;
    // That they are does not change; only what is new has to be looked at.
    this.#looked = true;
    return new Set(
      mappings.filter((mapping) => mayBeHugetlb(mapping) && this.#factsOf(mapping, mappings).hugetlb),
    );
  }

  /** Those of the mappings in which writes can be tracked. */
  #trackableOf(mappings: readonly Mapping[]): Mapping[] {
    this.#wantsHugetlb = true;
    this.#looked = false;
    return mappings.filter((mapping) => {
      if (!keepsSoftDirtyBits(mapping)) return false;
      const { device, hugetlb } = this.#factsOf(mapping, mappings);
      return !device && !hugetlb;
    });
  }

  override [Symbol.dispose](): void {
    super[Symbol.dispose]();
    this.#huge[Symbol.dispose]();
  }
}

/** In memory that is not tracked all pages are WRITTEN: not known to be unchanged. */
function markWritten(words: Uint32Array, slot: number, pages: number): void {
  for (const end = slot + pages * 2; slot < end; slot += 2) if (words[slot] === 0) words[slot] = VOID;
}

/** The categories of a translated entry. */
function categoriesOf(entry: number): number {
  let categories = 0;
  if ((entry & P) !== 0) {
    categories = PAGE_IS_PRESENT;
    const kind = entry >>> 12;
    if (kind === 1) categories |= PAGE_IS_FILE;
    else if (kind === 2) categories |= PAGE_IS_PFNZERO;
  } else if ((entry & SWAP) !== 0) {
    categories = PAGE_IS_SWAPPED | ((entry & GUARD) !== 0 ? PAGE_IS_GUARD : 0);
  }
  if ((entry & HUGE) !== 0) categories |= PAGE_IS_HUGE;
  if ((entry & SOFT_DIRTY) !== 0) categories |= PAGE_IS_SOFT_DIRTY;
  return (entry & CLEAN) === 0 ? categories | PAGE_IS_WRITTEN : categories;
}
