import {
  BASE_CATEGORIES,
  PAGE_IS_ACCESSED,
  PAGE_IS_FILE,
  PAGE_IS_PRESENT,
  PAGE_IS_SOFT_DIRTY,
  PAGE_SIZE,
} from '../abi/index.js';
import { type KernelProfile, type KernelProfileName, kernelProfile } from '../sim/index.js';
import { hex } from './backend.js';
import type { AdviceName, FeatureName, Op, RegisterMode, ScanOp, Scenario, Step } from './format.js';
import { Random } from './random.js';
import { SimulatedProcess } from './simulator.js';

/** The kinds of generated scenarios. */
export const SCENARIO_KINDS = [
  'anon',
  'file',
  'thp',
  'hugetlb',
  'swap',
  'mixed',
  'softdirty',
  'rwp',
  'moves',
] as const;
export type ScenarioKind = (typeof SCENARIO_KINDS)[number];

/** The kinds that apply to kernels of a profile. */
export function scenarioKinds(profile: KernelProfileName | KernelProfile): ScenarioKind[] {
  const { tracksSoftDirty, hasReadWriteProtection, mremapMovesSeveral, hasZeroPage } = kernelProfile(profile);
  const isKnown: Partial<Record<ScenarioKind, boolean>> = {
    softdirty: tracksSoftDirty,
    rwp: hasReadWriteProtection,
    // The older mremap has unmapped the target when it fails, which is not simulated (seen on 6.12.117). On kernels without the zero page,
    // moved mappings were not compared yet.
    moves: mremapMovesSeveral && hasZeroPage,
  };
  return SCENARIO_KINDS.filter((kind) => isKnown[kind] ?? true);
}

const ARENA = 0x600000000000;
const ARENA_PAGES = 4096;
const HUGE = 512;
const FILES = { f0: 40, f1: 700 } as const;

interface Range {
  at: number;
  pages: number;
}

type OpName = Op['op'];

const WEIGHTS: readonly (readonly [OpName, number])[] = [
  ['mmap', 10],
  ['munmap', 3],
  ['mprotect', 4],
  ['madvise', 9],
  ['read', 9],
  ['write', 20],
  ['register', 6],
  ['unregister', 1],
  ['writeprotect', 5],
  ['uffd', 1],
  ['close', 1],
  ['scan', 32],
];

/** Where there is read-write protection: of the rest as much as before. */
const RWP_WEIGHTS: readonly (readonly [OpName, number])[] = [...WEIGHTS, ['rwprotect', 6]];

/** Where mappings are moved and resized: of the rest as much as ever. */
const MOVE_WEIGHTS: readonly (readonly [OpName, number])[] = [...WEIGHTS, ['mremap', 16]];

/** Where most of the memory is under read-write protection. */
const ACCESS_WEIGHTS: readonly (readonly [OpName, number])[] = [
  ['mmap', 3],
  ['munmap', 2],
  ['mprotect', 3],
  ['madvise', 9],
  ['read', 20],
  ['write', 13],
  ['register', 4],
  ['unregister', 1],
  ['rwprotect', 15],
  ['scan', 30],
];

type Features = readonly FeatureName[];

const WP_FEATURES: readonly (readonly [Features, number])[] = [
  [['wp_async', 'wp_unpopulated', 'wp_hugetlbfs_shmem'], 8],
  [['wp_async', 'wp_unpopulated'], 1],
  [['wp_async'], 1],
];

/** Never RWP without RWP_ASYNC: accesses would wait for a handler. */
const RWP_FEATURES: readonly (readonly [Features, number])[] = [
  [['wp_async', 'wp_unpopulated', 'wp_hugetlbfs_shmem', 'rwp', 'rwp_async'], 10],
  [['rwp', 'rwp_async'], 8],
];

const ADVICE: readonly (readonly [AdviceName, number])[] = [
  ['dontneed', 4],
  ['hugepage', 3],
  ['nohugepage', 2],
  ['populate_read', 3],
  ['populate_write', 3],
  ['collapse', 3],
  ['guard_install', 4],
  ['guard_remove', 4],
  ['free', 4],
  ['cold', 1],
];

/**
 * A random scenario, the same for the same kind, seed and profile. It avoids operations that hang real kernels with the
 * known bugs: a scan never protects hugetlb memory before UFFDIO_WRITEPROTECT has, and guard pages are never installed
 * in a file mapping that is registered for write protection. It also avoids accesses that wait for a handler.
 *
 * @throws RangeError for the kind `rwp` and a profile without read-write protection
 * @example
 * ```ts
 * import { generateScenario } from 'pagemap-scan/scenario';
 * const { name, steps } = generateScenario('anon', 7);
 * console.assert(name === 'anon-7' && steps.length >= 20);
 * console.assert(JSON.stringify(generateScenario('anon', 7).steps) === JSON.stringify(steps));
 * ```
 */
export function generateScenario(
  kind: ScenarioKind,
  seed: number,
  profile: KernelProfileName | KernelProfile = '6.18',
): Scenario {
  return new Generator(kind, seed, kernelProfile(profile)).run();
}

class Generator {
  readonly #kind: ScenarioKind;
  readonly #random: Random;
  readonly #profile: KernelProfile;
  readonly #header: Omit<Scenario, 'steps'>;
  /** Follows along, so that ranges can be chosen where something is, and dangers be seen. */
  readonly #process: SimulatedProcess;
  readonly #steps: Step[] = [];
  /** What the open userfaultfd can do. */
  #uffd: Features | undefined;

  constructor(kind: ScenarioKind, seed: number, profile: KernelProfile) {
    if (kind === 'rwp' && !profile.hasReadWriteProtection) {
      throw new RangeError(
        `Cannot generate ${kind} scenarios for Linux ${profile.name}: Linux 7.3 brought what they are about`,
      );
    }
    this.#kind = kind;
    this.#random = new Random(seed);
    this.#profile = profile;
    this.#header = { name: `${kind}-${seed}`, kernel: undefined, arena: ARENA, arenaPages: ARENA_PAGES };
    this.#process = new SimulatedProcess({ ...this.#header, steps: [] }, profile);
  }

  run(): Scenario {
    const random = this.#random;
    if (this.#usesFiles) {
      for (const [file, pages] of Object.entries(FILES)) this.#add({ op: 'file', file, pages });
    }
    if (this.#kind === 'rwp') this.#openUffd();
    for (let count = random.between(1, 4); count > 0; count--) this.#mmap();
    if (this.#kind === 'rwp') this.#registerAll();
    const length = random.between(20, 90);
    while (this.#steps.length < length) this.#addRandom();
    return { ...this.#header, steps: this.#steps };
  }

  get #usesFiles(): boolean {
    return ['file', 'swap', 'mixed', 'hugetlb', 'softdirty', 'rwp', 'moves'].includes(this.#kind);
  }

  get #usesHugetlb(): boolean {
    return ['hugetlb', 'mixed', 'rwp'].includes(this.#kind);
  }

  get #usesSwap(): boolean {
    return ['swap', 'mixed', 'rwp'].includes(this.#kind);
  }

  get #weights(): typeof WEIGHTS {
    if (this.#kind === 'rwp') return ACCESS_WEIGHTS;
    if (this.#kind === 'moves') return MOVE_WEIGHTS;
    return this.#profile.hasReadWriteProtection ? RWP_WEIGHTS : WEIGHTS;
  }

  #add(op: Op): void {
    this.#process.apply(op);
    this.#steps.push({ op, expect: undefined, line: this.#steps.length + 2 });
  }

  #addRandom(): void {
    const random = this.#random;
    if (this.#kind === 'softdirty' && random.chance(4)) {
      this.#add({ op: 'clear_refs', value: 4 });
      return;
    }
    const name = random.weighted(this.#weights);
    switch (name) {
      case 'mmap':
        this.#mmap();
        break;
      case 'munmap':
        this.#add({ op: 'munmap', ...this.#range() });
        break;
      case 'mprotect': {
        const prot = random.weighted([
          ['rw', 6],
          ['r', 1],
          ['rx', 1],
          ['none', 1],
        ]);
        this.#add({ op: 'mprotect', ...this.#range(), prot });
        break;
      }
      case 'mremap':
        this.#mremap();
        break;
      case 'madvise':
        this.#madvise();
        break;
      case 'read':
      case 'write': {
        const range = this.#range();
        const step = random.chance(60) ? 1 : random.between(2, 9);
        this.#add({ op: name, ...range, step });
        if (name === 'write' && this.#usesSwap && random.chance(35)) {
          this.#add({ op: 'madvise', ...range, advice: 'pageout' });
        }
        break;
      }
      case 'uffd':
        this.#openUffd();
        break;
      case 'close':
        if (this.#uffd) this.#add({ op: 'close', uffd: 'u' });
        this.#uffd = undefined;
        break;
      case 'register':
        this.#register();
        break;
      case 'unregister':
        if (this.#uffd) this.#add({ op: 'unregister', uffd: 'u', ...this.#range() });
        break;
      case 'writeprotect':
        if (this.#uffd) {
          this.#add({ op: 'writeprotect', uffd: 'u', ...this.#range(), wp: random.chance(75) });
        }
        break;
      case 'rwprotect':
        if (this.#uffd) {
          this.#add({ op: 'rwprotect', uffd: 'u', ...this.#range(40), rwp: random.chance(85) });
        }
        break;
      case 'scan':
        this.#scan();
        break;
    }
  }

  #openUffd(): void {
    const features = this.#random.weighted(this.#features);
    this.#add({ op: 'uffd', uffd: 'u', features });
    this.#uffd = features;
  }

  get #features(): typeof WP_FEATURES {
    if (this.#kind === 'rwp') return RWP_FEATURES;
    return this.#profile.hasReadWriteProtection ? [...WP_FEATURES, ...RWP_FEATURES] : WP_FEATURES;
  }

  /** Puts all mappings that there are under read-write protection, or nearly. */
  #registerAll(): void {
    for (const { start, end } of [...this.#process.space.mappings()]) {
      const range = { at: (start - ARENA) / PAGE_SIZE, pages: (end - start) / PAGE_SIZE };
      this.#add({ op: 'register', uffd: 'u', ...range, mode: ['rwp'] });
      if (this.#random.chance(50)) this.#add({ op: 'rwprotect', uffd: 'u', ...range, rwp: true });
    }
  }

  #mode(): readonly RegisterMode[] {
    if (!this.#profile.hasReadWriteProtection) return ['wp'];
    // Without WP_ASYNC, writes to what is write-protected would wait for a handler.
    if (this.#uffd?.includes('wp_async') !== true) return this.#random.chance(97) ? ['rwp'] : ['wp', 'rwp'];
    return this.#random.weighted<readonly RegisterMode[]>([
      [['wp'], this.#kind === 'rwp' ? 8 : 45],
      [['rwp'], this.#kind === 'rwp' ? 90 : 50],
      [['wp', 'rwp'], 2],
    ]);
  }

  #register(): void {
    if (!this.#uffd) this.#openUffd();
    const range = this.#range(70);
    const mode = this.#mode();
    this.#add({ op: 'register', uffd: 'u', ...range, mode });
    if (mode.includes('rwp')) {
      if (this.#random.chance(50)) this.#add({ op: 'rwprotect', uffd: 'u', ...range, rwp: true });
      return;
    }
    if (this.#usesHugetlb || this.#random.chance(40)) {
      this.#add({ op: 'writeprotect', uffd: 'u', ...range, wp: true });
    }
    this.#protectHugetlb();
  }

  /** Gives registered hugetlb mappings the page tables that a protecting scan needs to find. */
  #protectHugetlb(): void {
    for (const { start, end, hugetlb, registered } of this.#process.space.mappings()) {
      if (!hugetlb || registered !== 'wp') continue;
      const at = (start - ARENA) / PAGE_SIZE;
      const { level } = this.#process.space.pageState(start);
      if (level === 'hole') {
        this.#add({ op: 'writeprotect', uffd: 'u', at, pages: (end - start) / PAGE_SIZE, wp: true });
      }
    }
  }

  #mmap(): void {
    const random = this.#random;
    const prot = random.weighted([
      ['rw', 7],
      ['r', 1],
      ['rx', 1],
      ['none', 1],
    ]);
    if (this.#usesHugetlb && random.chance(40)) {
      const at = random.between(0, 6) * HUGE;
      const pages = random.between(1, Math.min(3, 8 - at / HUGE)) * HUGE;
      const sharing = random.pick(['private', 'shared'] as const);
      this.#add({ op: 'mmap', at, pages, prot: random.chance(85) ? 'rw' : 'r', type: 'hugetlb', sharing });
      return;
    }
    if (this.#usesFiles && random.chance(this.#kind === 'file' ? 60 : 45)) {
      const at = random.chance(25) ? random.between(0, 6) * HUGE : random.between(0, ARENA_PAGES - 41);
      if (random.chance(25)) {
        const aligned = at % HUGE === 0 && random.chance(60);
        const pages = aligned ? random.between(1, Math.min(3, 8 - at / HUGE)) * HUGE : this.#length(at);
        this.#add({ op: 'mmap', at, pages, prot, type: 'anon', sharing: 'shared' });
        if (random.chance(aligned ? 60 : 10)) this.#add({ op: 'madvise', at, pages, advice: 'hugepage' });
        return;
      }
      const file = random.pick(['f0', 'f1'] as const);
      const offset = random.chance(60) ? 0 : random.between(0, FILES[file] - 1);
      // A little more than the file has: an access behind its end is a SIGBUS.
      const most = Math.min(FILES[file] - offset + (random.chance(20) ? 20 : 0), ARENA_PAGES - at);
      const pages = random.chance(40) ? most : random.between(1, most);
      const sharing = random.pick(['private', 'shared'] as const);
      this.#add({ op: 'mmap', at, pages, prot, type: 'file', sharing, file, offset });
      return;
    }
    const aligned = random.chance(this.#kind === 'thp' ? 75 : this.#kind === 'moves' ? 50 : 25);
    const at = aligned ? random.between(0, 7) * HUGE : random.between(0, ARENA_PAGES - 2);
    const pages =
      aligned && random.chance(70) ? random.between(1, Math.min(3, 8 - at / HUGE)) * HUGE : this.#length(at);
    this.#add({ op: 'mmap', at, pages, prot, type: 'anon', sharing: 'private' });
    if (random.chance(this.#kind === 'thp' ? 90 : this.#kind === 'moves' ? 50 : 8)) {
      this.#add({ op: 'madvise', at, pages, advice: 'hugepage' });
    }
  }

  #mremap(): void {
    const random = this.#random;
    const range = this.#range(40);
    const pages = random.chance(60)
      ? range.pages
      : random.between(random.chance(95) ? 1 : 0, Math.min(1500, range.pages + 50));
    // Now and then to where whole page tables, and huge pages, can be moved.
    const to = random.chance(40)
      ? random.between(0, 7) * HUGE + (random.chance(60) ? range.at % HUGE : 0)
      : random.between(0, ARENA_PAGES - 1);
    const from = random.chance(3) ? { at: range.at, pages: 0 } : range;
    if (to + pages <= ARENA_PAGES) this.#add({ op: 'mremap', ...from, to, to_pages: pages });
  }

  #length(at: number): number {
    const random = this.#random;
    const most = random.weighted([
      [10, 2],
      [64, 2],
      [600, 3],
      [1500, 2],
    ]);
    return random.between(1, Math.min(most, ARENA_PAGES - at));
  }

  #madvise(): void {
    const random = this.#random;
    const advice = this.#usesSwap && random.chance(30) ? 'pageout' : random.weighted(ADVICE);
    const range = this.#range();
    if (advice === 'guard_install' && this.#touchesProtectedFile(range)) return;
    if (!this.#profile.hasGuardPages && advice.startsWith('guard')) return;
    this.#add({ op: 'madvise', ...range, advice });
  }

  /** Whether a file mapping there may have protection. A move ends registrations, and leaves protection behind. */
  #touchesProtectedFile({ at, pages }: Range): boolean {
    const start = ARENA + at * PAGE_SIZE;
    for (const mapping of this.#process.space.mappings()) {
      if (mapping.start >= start + pages * PAGE_SIZE || mapping.end <= start) continue;
      if (mapping.file && (mapping.registered === 'wp' || this.#kind === 'moves')) return true;
    }
    return false;
  }

  #scan(): void {
    const random = this.#random;
    const flags = random.weighted([
      [0, 56],
      [1, 26],
      [2, 5],
      [3, 17],
      [random.between(4, 7), 1],
    ]);
    let start: number;
    let end: number;
    if (random.chance(25)) {
      start = 0;
      end = ARENA_PAGES;
    } else {
      const { at, pages } = this.#range(60, random.chance(85));
      start = at;
      end = at + pages;
    }
    const known = this.#profile.knownCategories;
    const categories = () =>
      random.next() & (this.#profile.hasGuardPages && random.chance(20) ? known : BASE_CATEGORIES);
    const vec = random.chance(88);
    const startAddress = ARENA + start * PAGE_SIZE + (random.chance(1) ? 8 : 0);
    const endAddress = random.chance(1)
      ? '0xffff800000001000'
      : hex(ARENA + end * PAGE_SIZE - (random.chance(2) ? 100 : 0));
    const style = random.next() % 10;
    const accessMasks =
      this.#profile.hasReadWriteProtection && random.chance(this.#kind === 'rwp' ? 75 : 25)
        ? this.#accessMasks()
        : undefined;
    this.#add({
      op: 'scan',
      size: random.chance(1) ? 88 : 96,
      flags,
      start: hex(startAddress),
      end: endAddress,
      vec,
      vec_len: vec
        ? random.weighted([
            [65536, 10],
            [random.between(0, 8), 5],
            [random.between(9, 530), 3],
            [512, 1],
          ])
        : random.chance(4)
          ? 4
          : 0,
      max_pages: random.chance(65) ? 0 : random.chance(30) ? random.between(1, 20) : random.between(1, 600),
      inverted: random.chance(75) ? 0 : categories(),
      // Much like people ask: what is written, what is present; now and then anything.
      mask:
        style < 3
          ? 2
          : style < 4
            ? 0
            : style < 5
              ? 8
              : style < 7
                ? 1 << random.between(0, 6)
                : style < 8
                  ? categories()
                  : 0,
      anyof: style < 3 || random.chance(55) ? 0 : categories(),
      return: style < 2 ? 2 : random.chance(45) ? 0x7f : categories(),
      ...accessMasks,
    });
  }

  /** As people ask for accesses: what was accessed, what was not, each with more or less beside. */
  #accessMasks(): Pick<ScanOp, 'inverted' | 'mask' | 'anyof' | 'return'> {
    const random = this.#random;
    const [inverted, mask, anyof] = random.pick([
      [0, PAGE_IS_ACCESSED, 0],
      [PAGE_IS_ACCESSED, PAGE_IS_ACCESSED | PAGE_IS_PRESENT, 0],
      [PAGE_IS_ACCESSED, PAGE_IS_ACCESSED, 0],
      [PAGE_IS_FILE, PAGE_IS_FILE | PAGE_IS_ACCESSED, 0],
      [0, PAGE_IS_PRESENT, PAGE_IS_ACCESSED],
      [0, 0, PAGE_IS_ACCESSED | PAGE_IS_PRESENT],
      [0, 0, 0],
    ] as const);
    const all = this.#profile.knownCategories & ~PAGE_IS_SOFT_DIRTY;
    return { inverted, mask, anyof, return: random.chance(70) ? all : PAGE_IS_ACCESSED };
  }

  /**
   * A range of pages: often a mapping or a part of one, sometimes anywhere.
   *
   * @param wholePercent how often a whole mapping
   */
  #range(wholePercent = 25, mapped = true): Range {
    const random = this.#random;
    const mappings = mapped && random.chance(92) ? [...this.#process.space.mappings()] : [];
    if (mappings.length === 0) {
      const at = random.between(0, ARENA_PAGES - 2);
      return { at, pages: this.#length(at) };
    }
    const mapping = random.pick(mappings);
    const first = (mapping.start - ARENA) / PAGE_SIZE;
    const pages = (mapping.end - mapping.start) / PAGE_SIZE;
    if (random.chance(wholePercent) || pages === 1) return { at: first, pages };
    if (random.chance(mapping.hugetlb ? 70 : 15)) {
      // Whole 2 MiB blocks.
      const block = Math.floor((first + random.between(0, pages - 1)) / HUGE);
      return { at: block * HUGE, pages: random.between(1, Math.min(2, 8 - block)) * HUGE };
    }
    const at = first + random.between(0, pages - 1);
    const left = first + pages - at;
    if (random.chance(8)) return { at, pages: Math.min(ARENA_PAGES - at, left + random.between(1, 600)) };
    return { at, pages: random.chance(30) ? random.between(1, Math.min(4, left)) : random.between(1, left) };
  }
}
