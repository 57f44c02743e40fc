/**
 * Which transparent huge pages are mapped as such (HUGE), from smaps: per mapping the kernel says how many bytes are, though
 * not where. Nowhere, or everywhere where it could be, leaves no question; what is in between is told by the kinds of the
 * frames where they can be seen, and is unknown otherwise.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { HUGE_PAGE_SIZE, PAGE_SIZE } from '../../abi/index.js';
import { type Mapping, pagemapPfn, type SmapsMapping } from '../../proc/index.js';
import { BLOCK_PAGES, BLOCK_SLOTS, looksHuge, wordIsFile } from './words.js';

/** Where the huge pages of a mapping are: nowhere, in all blocks that look so, in those whose frames are huge, or unknown. */
export type Verdict = 'none' | 'alike' | 'by frame' | 'unknown';

/** Bits of /proc/kpageflags (Documentation/admin-guide/mm/pagemap.rst). */
const KPF_COMPOUND_HEAD = 1 << 15;
const KPF_COMPOUND_TAIL = 1 << 16;
const KPF_THP = 1 << 22;
/** Blocks whose words are read at once. */
const AT_ONCE = 16;

/** Bytes of a mapping that are mapped as transparent huge pages; the huge zero page is not among them. */
function hugeBytes({ sizes }: SmapsMapping): number {
  return (sizes.AnonHugePages ?? 0) + (sizes.ShmemPmdMapped ?? 0) + (sizes.FilePmdMapped ?? 0);
}

/** What huge.ts asks of the process. */
export interface HugeSource {
  readSmaps(): SmapsMapping[];
  /** Reads untranslated words of pages, from page number `page` on. */
  readRaw(words: Uint32Array, page: number): void;
}

export class HugeVerdicts implements Disposable {
  readonly #source: HugeSource;
  readonly #verdicts = new Map<number, Verdict>();
  #smaps: Map<number, SmapsMapping> | undefined;
  #kpageflags: number | undefined;
  #words: Uint32Array | undefined;
  readonly #flags = new Uint32Array(BLOCK_SLOTS);

  constructor(source: HugeSource) {
    this.#source = source;
  }

  /** Asks anew from here on. */
  reset(): void {
    this.#verdicts.clear();
    this.#smaps = undefined;
  }

  /** @param anonymous private anonymous memory, in which the huge zero page looks like a file's and is no question */
  verdict(mapping: Mapping, anonymous: boolean): Verdict {
    let found = this.#verdicts.get(mapping.start);
    if (found !== undefined) return found;
    found = this.#judge(mapping, anonymous);
    if (found === 'unknown') {
      // Pages may have become huge between the two readings: they are compared once more.
      this.#smaps = undefined;
      found = this.#judge(mapping, anonymous);
    }
    this.#verdicts.set(mapping.start, found);
    return found;
  }

  #judge(mapping: Mapping, anonymous: boolean): Verdict {
    this.#smaps ??= new Map(this.#source.readSmaps().map((entry) => [entry.start, entry]));
    const entry = this.#smaps.get(mapping.start);
    if (entry === undefined || entry.end !== mapping.end) return 'unknown';
    const wanted = hugeBytes(entry) / HUGE_PAGE_SIZE;
    if (wanted === 0) return 'none';
    let alike = 0;
    this.#eachAlike(mapping, anonymous, () => {
      alike++;
    });
    if (alike === wanted) return 'alike';
    let byFrame = 0;
    let framesSeen = true;
    this.#eachAlike(mapping, anonymous, (words, slot) => {
      const huge = this.hasHugeFrame(words, slot);
      if (huge === undefined) framesSeen = false;
      else if (huge) byFrame++;
    });
    return framesSeen && byFrame === wanted ? 'by frame' : 'unknown';
  }

  /** Visits the blocks of a mapping that look as huge pages do. */
  #eachAlike(mapping: Mapping, anonymous: boolean, visit: (words: Uint32Array, slot: number) => void): void {
    this.#words ??= new Uint32Array(AT_ONCE * BLOCK_SLOTS);
    const words = this.#words;
    const last = Math.floor(mapping.end / HUGE_PAGE_SIZE);
    for (let block = Math.ceil(mapping.start / HUGE_PAGE_SIZE); block < last; block += AT_ONCE) {
      const count = Math.min(AT_ONCE, last - block);
      this.#source.readRaw(words.subarray(0, count * BLOCK_SLOTS), block * BLOCK_PAGES);
      for (let index = 0; index < count; index++) {
        const slot = index * BLOCK_SLOTS;
        if (looksHuge(words, slot) && !(anonymous && wordIsFile(words[slot + 1]!))) visit(words, slot);
      }
    }
  }

  /** Whether a block's frames are those of one huge page; undefined when that cannot be seen. */
  hasHugeFrame(words: Uint32Array, slot: number): boolean | undefined {
    const frame = pagemapPfn(words[slot]!, words[slot + 1]!);
    if (frame === 0) return undefined;
    try {
      this.#kpageflags ??= openSync('/proc/kpageflags', 'r');
      if (readSync(this.#kpageflags, this.#flags, 0, BLOCK_PAGES * 8, frame * 8) < BLOCK_PAGES * 8)
        return undefined;
    } catch {
      return undefined;
    }
    if ((this.#flags[0]! & KPF_THP) === 0 || (this.#flags[0]! & KPF_COMPOUND_HEAD) === 0) return false;
    for (let page = 1; page < BLOCK_PAGES; page++) {
      if ((this.#flags[page * 2]! & KPF_COMPOUND_TAIL) === 0) return false;
    }
    return true;
  }

  [Symbol.dispose](): void {
    if (this.#kpageflags !== undefined) closeSync(this.#kpageflags);
    this.#kpageflags = undefined;
  }
}

/** The size of the pages that smaps says a mapping is made of. */
export function isHugetlb({ vmFlags, sizes }: SmapsMapping): boolean {
  return vmFlags.includes('ht') || (sizes.KernelPageSize ?? 0) > PAGE_SIZE;
}
