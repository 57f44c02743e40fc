/**
 * What the interface's own authors test, written once for every provider. Mappings are anonymous, private, readable and
 * writable, registered for asynchronous write protection and protected, unless said otherwise.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  ALL_CATEGORIES,
  CATEGORIES,
  mman,
  PAGE_IS_FILE,
  PAGE_IS_PRESENT,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
  type ScanRequest,
  USER_SPACE_END,
} from '../../src/abi/index.js';
import { random } from '../support/random.mjs';
import { accesses, noAccesses } from './accesses.js';
import { isHugetlb, type MapRequest, type MemoryKind, type Platform, type World } from './platform.js';

type Options = Partial<ScanRequest> & { vecLen?: number };

export function conformance(platform: Platform): void {
  let world: World;
  const { userSpaceEnd = USER_SPACE_END, pageSize = PAGE_SIZE } = platform;
  /** Pages of a huge one. */
  const hugePages = pageSize / 8;
  const tracks = platform.cannotTrack === undefined;
  const WP = tracks ? PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC : 0;
  /** The categories that every kernel with the ioctl knows, as far as the platform can tell them: what "all" means. */
  const ALL = (platform.categories ?? 0x7f) & 0x7f;
  /** What a page has once it was written: where writes cannot be tracked, it is at least there. */
  const SEEN = tracks ? PAGE_IS_WRITTEN : PAGE_IS_PRESENT;
  const outputs = new Map<number, RegionBuffer>();

  beforeEach(() => {
    world = platform.create();
  });
  afterEach(() => world[Symbol.dispose]());

  const where = (kind: MemoryKind): typeof test => {
    if (platform.untracked?.includes(kind)) return test.skip as unknown as typeof test;
    const reason = platform.lacks(kind);
    if (reason === undefined) return test;
    if (process.env['CI']) throw new Error(`Cannot be skipped in CI: ${kind}: ${reason}`);
    return test.skip as unknown as typeof test;
  };
  const isThere = (kind: MemoryKind) =>
    platform.lacks(kind) === undefined && !platform.untracked?.includes(kind);
  const skipped = test.skip as unknown as typeof test;
  /** For what takes write tracking; that the platform refuses it is a test of its own. */
  const tracking = tracks ? test : skipped;
  const whereTracked = (kind: MemoryKind) => (tracks ? where(kind) : skipped);

  /** Maps, registers and protects. */
  function tracked(pages: number, request: Partial<MapRequest> = {}): number {
    const address = world.map({ pages, ...request });
    if (tracks) {
      world.register(address, pages);
      protect(address, pages, request.kind);
    }
    return address;
  }

  function protect(address: number, pages: number, kind: MemoryKind = 'anonymous'): void {
    // A hugetlb hole must not be protected by a scan: some kernels then wait for themselves for ever.
    if (isHugetlb(kind) || platform.scanLeavesHoles) world.writeProtect(address, pages);
    const request = { flags: WP, categoryMask: SEEN, returnMask: 0 };
    expect(
      world.pagemap.scan({ start: address, end: address + pages * pageSize, ...request }, null),
    ).toMatchObject({
      regions: 0,
    });
  }

  function output(capacity: number): RegionBuffer {
    let found = outputs.get(capacity);
    if (found === undefined) {
      found = new RegionBuffer(capacity);
      outputs.set(capacity, found);
    }
    return found;
  }

  /** One call; the regions come as [first page, page behind the last, categories], counted from `address`. */
  function scan(address: number, pages: number, options: Options = {}) {
    const { vecLen = 1000, ...request } = options;
    const vec = output(vecLen);
    const { regions, walkEnd } = world.pagemap.scan(
      { start: address, end: address + pages * pageSize, ...request },
      vec,
    );
    expect(vec.length).toBe(regions);
    const list = [...vec].map((region): [number, number, number] => [
      (region.start - address) / pageSize,
      (region.end - address) / pageSize,
      region.categories,
    ]);
    return { regions, list, pages: vec.totalPages(), walkEnd: (walkEnd - address) / pageSize };
  }

  const written = (address: number, pages: number, options: Options = {}) =>
    scan(address, pages, { categoryMask: SEEN, returnMask: SEEN, ...options });
  /** Get and protect, only in ranges that are registered. */
  const wpAll = (address: number, pages: number, options: Options = {}) =>
    written(address, pages, { flags: WP, ...options });

  function code(request: Partial<ScanRequest>, vec: RegionBuffer | null = output(1000)): string {
    try {
      const { regions } = world.pagemap.scan({ start: 0, end: pageSize, ...request }, vec);
      return String(regions);
    } catch (error) {
      if (error instanceof PagemapError) return error.code;
      throw error;
    }
  }

  describe('arguments', () => {
    const pages = 1000;
    let start: number;
    let end: number;
    beforeEach(() => {
      start = tracked(pages);
      end = start + pages * pageSize;
    });

    test('an empty range gives 0', () => {
      expect(code({ start, end: start, flags: WP, categoryMask: SEEN, returnMask: SEEN })).toBe('0');
    });

    test('a null vec with a length is EINVAL, not EFAULT', () => {
      expect(code({ start, end, returnMask: SEEN, override: { vecLen: 1 } }, null)).toBe('EINVAL');
      expect(code({ start, end, returnMask: SEEN, override: { vec: 0 } })).toBe('EINVAL');
    });

    test('a vec with length 0, and neither, give 0', () => {
      expect(code({ start, end, categoryMask: SEEN, returnMask: SEEN, override: { vecLen: 0 } })).toBe('0');
      expect(code({ start, end, flags: WP, categoryMask: SEEN, returnMask: SEEN }, null)).toBe('0');
      expect(code({ start, end, returnMask: SEEN }, null)).toBe('0');
    });

    test.each([-1, 3 | 0xff, 4, 0xffffffffffffffffn])('flags %s are EINVAL', (flags) => {
      expect(code({ start, end, flags, categoryMask: SEEN, returnMask: SEEN })).toBe('EINVAL');
    });

    test('no masks at all, and return mask 0, are valid', () => {
      expect(code({ start, end, flags: WP })).not.toMatch(/^E/);
      expect(code({ start, end, flags: WP, categoryMask: SEEN })).toBe('0');
    });

    test.each([0x1000, 0xfff, -1])('unknown categories, %s, are EINVAL in every mask', (unknown) => {
      for (const mask of ['returnMask', 'categoryMask', 'categoryAnyofMask', 'categoryInverted']) {
        expect([mask, code({ start, end, [mask]: unknown })]).toEqual([mask, 'EINVAL']);
      }
    });

    test('all categories inverted is valid', () => {
      expect(code({ start, end, flags: WP, categoryInverted: ALL, returnMask: SEEN })).not.toMatch(/^E/);
    });

    test.each([0, 88, 95, 97, 104, -1])('size %s is EINVAL', (size) => {
      expect(code({ start, end, returnMask: SEEN, override: { size } })).toBe('EINVAL');
    });

    test('an unaligned start is EINVAL, an unaligned end is rounded up', () => {
      expect(code({ start: start + 1, end, returnMask: SEEN })).toBe('EINVAL');
      expect(code({ start: start + pageSize - 1, end, returnMask: SEEN })).toBe('EINVAL');
      world.write(start, 2);
      expect(written(start, 1 / pageSize + 1)).toMatchObject({ list: [[0, 2, SEEN]], walkEnd: 2 });
    });

    test('a range outside user space, or that ends before it starts, is EFAULT', () => {
      expect(code({ start, end: userSpaceEnd + pageSize, returnMask: SEEN })).toBe('EFAULT');
      expect(code({ start, end: 0xffffffffffffffffn, returnMask: SEEN })).toBe('EFAULT');
      expect(code({ start: -pageSize, end: -1, returnMask: SEEN })).toBe('EFAULT');
      expect(code({ start: end, end: start, returnMask: SEEN })).toBe('EFAULT');
      expect(code({ start: userSpaceEnd, end: userSpaceEnd, returnMask: SEEN })).toBe('0');
    });

    test('a vec outside user space, or that cannot be written, is EFAULT', () => {
      world.write(start, 3);
      const request = { start, end, categoryMask: SEEN, returnMask: SEEN };
      expect(code({ ...request, override: { vec: userSpaceEnd } })).toBe('EFAULT');
      expect(code({ ...request, override: { vec: -1n } })).toBe('EFAULT');
      expect(code({ ...request, override: { vecLen: 2 ** 61 } })).toBe('EFAULT');
      expect(code({ ...request, override: { vec: pageSize } })).toBe('EFAULT');
      // Nothing to write, nothing to fail.
      expect(code({ ...request, start: start + 10 * pageSize, override: { vec: pageSize } })).toBe('0');
    });

    test('arguments are checked in order', () => {
      const bad = { start: start + 1, end: -1, flags: 8, returnMask: 0x1000 };
      expect(code({ ...bad, override: { size: 1, vec: 0 } })).toBe('EINVAL');
      expect(code({ start: start + 1, end: -1 })).toBe('EINVAL');
      expect(code({ start, end: -1, override: { vec: 0 } })).toBe('EFAULT');
      expect(code({ start, end, override: { vec: 0 } })).toBe('EINVAL');
    });

    const unregistered = platform.tracksUnregistered ? skipped : tracking;
    unregistered('failing to write the output overrides what the walk itself gave', () => {
      const plain = world.map({ pages: 4, address: end - 4 * pageSize });
      world.write(start, 3);
      const request = { start, end: plain + 4 * pageSize, flags: WP, categoryMask: SEEN, returnMask: SEEN };
      expect(code({ ...request, override: { vec: pageSize } })).toBe('EFAULT');
      world.write(start, 3);
      expect(code(request)).toBe('EPERM');
    });
  });

  describe('what only JavaScript can pass', () => {
    const FIELDS = ['start', 'end', 'flags', 'maxPages', 'categoryInverted', 'categoryMask'];
    const fields = [...FIELDS, 'categoryAnyofMask', 'returnMask', 'size', 'vec', 'vecLen'];
    const values = [
      1.5,
      -0.5,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      2 ** 64,
      -(2 ** 64),
      2n ** 64n,
      '8',
      null,
    ];

    test.each(fields)('%s that is no 64-bit integer is EINVAL, whatever else is', (field) => {
      const address = world.map({ pages: 2 });
      world.write(address, 2);
      const range = { start: address, end: address + 2 * pageSize, returnMask: PAGE_IS_PRESENT };
      const vec = output(8);
      vec.length = 5;
      const isOverride = ['size', 'vec', 'vecLen'].includes(field);
      for (const value of values) {
        const wrong = isOverride ? { ...range, override: { [field]: value } } : { ...range, [field]: value };
        const because = `${field} must be a 64-bit integer, not ${value}`;
        expect(() => world.pagemap.scan(wrong as unknown as ScanRequest, vec)).toThrow(
          expect.objectContaining({ name: 'PagemapError', code: 'EINVAL', hint: because }),
        );
      }
      // Refused before anything was done.
      expect(vec.length).toBe(5);
      expect(world.pagemap.scan(range, vec).regions).toBe(1);
    });

    test('an output whose memory was transferred away is refused', () => {
      const address = world.map({ pages: 1 });
      world.write(address, 1);
      const range = { start: address, end: address + pageSize, returnMask: PAGE_IS_PRESENT };
      const gone = new RegionBuffer(8);
      structuredClone(gone.buffer, { transfer: [gone.buffer as ArrayBuffer] });
      expect(() => world.pagemap.scan(range, gone)).toThrow(TypeError);
      expect(() => world.pagemap.scan(range, gone)).toThrow('transferred away');
    });
  });

  describe('get and clear', () => {
    tracking('every second page', () => {
      const start = tracked(1000);
      world.write(start, 1000, 2);
      expect(wpAll(start, 1000)).toMatchObject({ regions: 500, pages: 500, walkEnd: 1000 });
      expect(wpAll(start, 1000)).toMatchObject({ regions: 0 });
    });

    tracking('every second page, in two legs', () => {
      const start = tracked(1000);
      world.write(start, 1000, 2);
      const first = wpAll(start, 1000, { maxPages: 498 });
      const rest = wpAll(start, 1000);
      expect([first.regions, first.regions + rest.regions]).toEqual([498, 500]);
    });

    tracking('max_pages one short', () => {
      const start = tracked(1000);
      world.write(start, 1000, 2);
      world.write(start + 999 * pageSize, 1);
      expect(wpAll(start, 1000, { maxPages: 500 }).pages).toBe(500);
      expect(wpAll(start, 1000).pages).toBe(1);
    });

    tracking('a part of what was written', () => {
      const start = tracked(1000);
      world.write(start, 1000);
      expect(wpAll(start + pageSize, 2).list).toEqual([[0, 2, SEEN]]);
      expect(written(start, 1000).list).toEqual([
        [0, 1, SEEN],
        [3, 1000, SEEN],
      ]);
    });

    tracking('two mappings: clearing one leaves the other', () => {
      const [one, other] = [tracked(100), tracked(100)];
      world.write(one, 100);
      world.write(other, 100);
      expect(wpAll(one, 100).pages).toBe(100);
      expect(written(one, 100).pages).toBe(0);
      expect(written(other, 100).pages).toBe(100);
    });

    tracking('three calls with max_pages', () => {
      const start = tracked(1050);
      world.write(start, 1050, 2);
      const pages = [1, 2, 3].map(() => wpAll(start, 1050, { maxPages: 210 }).pages);
      expect(pages).toEqual([210, 210, 105]);
    });

    tracking('random pages through a small output, resumed at walk_end: nothing lost, nothing twice', () => {
      const pages = 10_000;
      const start = tracked(pages);
      const next = random(0x5eed);
      for (let round = 0; round < (platform.rounds ?? 100); round++) {
        const expected = new Uint8Array(pages);
        for (let count = 0; count < pages / 2; ) {
          const page = Math.floor(next() * pages);
          if (expected[page]) continue;
          expected[page] = 1;
          count++;
          world.write(start + page * pageSize, 1);
        }
        const seen = new Uint8Array(pages);
        for (let at = 0, last = 0; at < pages; ) {
          const { list, walkEnd } = wpAll(start + at * pageSize, pages - at, { vecLen: 50 });
          for (const [from, to] of list) {
            if (at + from < last) throw new Error(`page ${at + from} comes after page ${last}`);
            last = at + to;
            seen.fill(1, at + from, last);
          }
          at += walkEnd;
        }
        // Bytes are compared at once; numbers one by one would take seconds.
        if (Buffer.compare(seen, expected) === 0) continue;
        const all = [...expected.keys()];
        const lost = all.filter((page) => expected[page] && !seen[page]);
        const surplus = all.filter((page) => !expected[page] && seen[page]);
        expect({ round, lost, surplus }).toEqual({ round, lost: [], surplus: [] });
      }
    });
  });

  describe('walk_end', () => {
    test('of an empty range is its start', () => {
      const start = tracked(1000);
      expect(written(start, 0).walkEnd).toBe(0);
      expect(wpAll(start, 0).walkEnd).toBe(0);
      expect(
        world.pagemap.scan({ start, end: start, flags: WP, override: { vecLen: 0 } }, output(1)).walkEnd,
      ).toBe(start);
    });

    test.each([
      [{ vecLen: 1000 }, 1, 1000],
      [{ vecLen: 1 }, 1, 1000],
      [{ vecLen: 1, maxPages: 1000 }, 1, 1000],
      [{ maxPages: -1 }, 1, 1000],
      [{ maxPages: 500 }, 1, 500],
      [{ maxPages: 1 }, 1, 1],
    ])('all written, %o', (options, regions, walkEnd) => {
      const start = tracked(1000);
      world.write(start, 1000);
      expect(written(start, 1000, options)).toMatchObject({ regions, walkEnd });
    });

    test.each([
      // Where the next match would no longer fit.
      [{ vecLen: 1 }, 1, 2],
      [{ vecLen: 500, maxPages: 1000 }, 500, 1000],
      [{ vecLen: 1000, maxPages: 500 }, 500, 1000],
      [{ maxPages: 1 }, 1, 2],
    ])('every second page written, %o', (options, regions, walkEnd) => {
      const start = tracked(1000);
      world.write(start, 1000, 2);
      expect(written(start, 1000, options)).toMatchObject({ regions, walkEnd });
    });
  });

  describe.each<[string, number, MemoryKind]>([
    ['10 small pages', 10, 'anonymous'],
    ['5120 small pages', 5120, 'anonymous'],
    ['a transparent huge page', hugePages, 'transparent huge'],
    ['hugetlb by shared memory', 2 * hugePages, 'hugetlb, shared memory'],
    ['hugetlb by an anonymous mapping', 2 * hugePages, 'hugetlb, anonymous'],
    ['hugetlb by a memory file', 2 * hugePages, 'hugetlb, memory file'],
    ['a private file mapping', 64, 'private file'],
    ['a shared mapping of a memory file', 64, 'shared memory file'],
  ])('base set: %s', (_, pages, kind) => {
    let start: number;
    const middle = Math.floor(pages / 2);
    beforeEach(() => {
      if (isThere(kind)) start = tracked(pages, { kind });
    });

    where(kind)('new pages are not written', () => {
      expect(written(start, pages).list).toEqual([]);
    });

    where(kind)('all written: one range of all', () => {
      world.write(start, pages);
      expect(written(start, pages).list).toEqual([[0, pages, SEEN]]);
    });

    whereTracked(kind)('all but the first and last: one range, then nothing', () => {
      world.write(start, pages);
      wpAll(start, pages);
      world.write(start + pageSize, pages - 2);
      const again = wpAll(start, pages);
      expect(again.regions).toBe(1);
      expect(again.pages).toBeGreaterThanOrEqual(pages - 2);
      expect(again.pages).toBeLessThanOrEqual(pages);
      expect(wpAll(start, pages).list).toEqual([]);
    });

    where(kind)('the middle page: one range with it', () => {
      world.write(start + middle * pageSize, 1);
      const { list } = written(start, pages);
      expect(list).toHaveLength(1);
      const [from, to] = list[0]!;
      expect(from <= middle && middle < to).toBe(true);
      if (kind === 'anonymous') expect(list).toEqual([[middle, middle + 1, SEEN]]);
    });

    where(kind)('two pages in the middle, asked for alone: one range of 2', () => {
      world.write(start + middle * pageSize, 2);
      expect(written(start + middle * pageSize, 2).list).toEqual([[0, 2, SEEN]]);
    });
  });

  describe('transparent huge pages', () => {
    const pages = 10 * hugePages;
    const half = pages / 2;
    const kind = 'transparent huge';
    let start: number;
    beforeEach(() => {
      if (isThere(kind)) start = tracked(pages, { kind });
    });

    whereTracked(kind)('protected, none is written', () => {
      world.write(start, pages);
      protect(start, pages);
      expect(written(start, pages).list).toEqual([]);
    });

    whereTracked(kind)('get and clear of all: one range, categories exactly WRITTEN', () => {
      world.write(start, pages);
      expect(wpAll(start, pages).list).toEqual([[0, pages, SEEN]]);
    });

    whereTracked(kind)('one byte in the middle: one range', () => {
      world.write(start, pages);
      protect(start, pages);
      world.write(start + (half + 7) * pageSize, 1);
      expect(written(start, pages).regions).toBe(1);
    });

    whereTracked(kind)('protecting the first half leaves the second', () => {
      world.write(start, pages);
      protect(start, half);
      expect(written(start, pages).list).toEqual([[half, pages, SEEN]]);
    });

    whereTracked(kind)('max_pages half, then the second half', () => {
      world.write(start, pages);
      expect(wpAll(start, pages, { maxPages: half }).list).toEqual([[0, half, SEEN]]);
      expect(written(start, pages).list).toEqual([[half, pages, SEEN]]);
    });

    whereTracked(kind)('clearing the second half leaves the first', () => {
      world.write(start, pages);
      expect(wpAll(start + half * pageSize, half).pages).toBe(half);
      expect(written(start, pages).list).toEqual([[0, half, SEEN]]);
    });

    whereTracked(kind)('half of one huge page, then the rest', () => {
      world.write(start, pages);
      expect(wpAll(start, pages, { maxPages: 256, vecLen: 1 }).list).toEqual([[0, 256, SEEN]]);
      expect(wpAll(start, pages, { vecLen: 1 }).list).toEqual([[256, pages, SEEN]]);
    });
  });

  describe('masks', () => {
    const both = SEEN | PAGE_IS_PRESENT;
    let start: number;
    beforeEach(() => {
      start = tracked(10);
    });

    test.each<Options>([
      { categoryAnyofMask: ALL },
      { categoryMask: ALL },
      { categoryInverted: ALL },
      { categoryMask: ALL, categoryAnyofMask: ALL },
    ])('%o is valid', (masks) => {
      expect(() => scan(start, 10, { ...masks, returnMask: ALL })).not.toThrow();
    });

    test.each<Options>([
      { categoryAnyofMask: ALL },
      { categoryMask: both },
      { categoryMask: SEEN, categoryAnyofMask: PAGE_IS_PRESENT },
    ])('all written, %o: one range with both', (masks) => {
      world.write(start, 10);
      expect(scan(start, 10, { ...masks, returnMask: both }).list).toEqual([[0, 10, both]]);
    });

    test.each([SEEN, PAGE_IS_PRESENT])('category %s required and inverted finds none of them', (bit) => {
      world.write(start, 10);
      expect(scan(start, 10, { categoryMask: bit, categoryInverted: bit, returnMask: both }).list).toEqual(
        [],
      );
    });

    test('the return mask limits what is reported', () => {
      world.write(start, 10);
      expect(scan(start, 10, { categoryMask: both, returnMask: SEEN }).list).toEqual([[0, 10, SEEN]]);
      expect(scan(start, 10, { categoryMask: both, returnMask: 0 }).list).toEqual([[0, 10, 0]]);
    });

    where('private file')('a private file mapping: FILE when read, WRITTEN when written', () => {
      const read = world.map({ pages: 64, kind: 'private file', prot: mman.PROT_READ });
      world.read(read, 64);
      expect(scan(read, 64, { categoryMask: PAGE_IS_FILE, returnMask: PAGE_IS_FILE }).list).toEqual([
        [0, 64, PAGE_IS_FILE],
      ]);
      const changed = tracked(64, { kind: 'private file' });
      world.write(changed, 64);
      expect(written(changed, 64).list).toEqual([[0, 64, SEEN]]);
    });
  });

  describe('mprotect and new mappings', () => {
    const { PROT_NONE, PROT_READ, PROT_WRITE } = mman;

    tracking('protection survives changes of permission', () => {
      const start = tracked(2);
      const through = () => {
        for (const prot of [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE]) {
          world.mprotect(start, 1, prot);
          world.mprotect(start + pageSize, 1, prot);
        }
      };
      world.write(start, 2);
      expect(written(start, 2).pages).toBe(2);
      protect(start, 2);
      expect(written(start, 2).pages).toBe(0);

      world.map({ pages: 1, address: start + pageSize });
      world.register(start + pageSize, 1);
      protect(start + pageSize, 1);
      through();
      world.write(start, 2);
      through();
      expect(written(start, 2).list).toEqual([[0, 2, SEEN]]);
      protect(start, 2);
      world.write(start, 2);
      expect(written(start, 2).pages).toBe(2);
    });

    tracking('parts of a PROT_NONE mapping with different permissions', () => {
      const start = tracked(16, { prot: PROT_NONE });
      const prots = [PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE, PROT_READ | mman.PROT_EXEC];
      for (let part = 0; part < 8; part++) {
        world.mprotect(start + part * 2 * pageSize, 2, prots[part % prots.length]!);
      }
      expect(written(start, 16).list).toEqual([]);
    });
  });

  tracking('one page, 100 times', () => {
    const start = tracked(1);
    for (let round = 0; round < 100; round++) {
      protect(start, 1);
      expect(written(start, 1).pages).toBe(0);
      world.write(start, 1);
      expect(written(start, 1).pages).toBe(1);
    }
  });

  test('a range without mappings gives nothing', () => {
    const start = tracked(10);
    world.unmap(start, 10);
    expect(scan(start, 10, { returnMask: ALL })).toMatchObject({ regions: 0, walkEnd: 10 });
  });

  whereTracked('hugetlb, anonymous')(
    'a part of a hugetlb page at the edge of a scan is left out without an error',
    () => {
      const start = tracked(2 * hugePages, { kind: 'hugetlb, anonymous' });
      world.write(start, 2 * hugePages, hugePages);
      expect(wpAll(start, hugePages + 10).list).toEqual([[0, hugePages, SEEN]]);
      expect(written(start, 2 * hugePages).list).toEqual([[hugePages, 2 * hugePages, SEEN]]);
    },
  );

  const refusing = tracks ? skipped : test;
  refusing('what cannot be known is refused, whatever is asked for besides', () => {
    const start = tracked(2);
    world.write(start, 1);
    const range = { start, end: start + 2 * pageSize };
    const unknown = ALL_CATEGORIES & ~(platform.categories ?? ALL_CATEGORIES);
    expect(unknown & PAGE_IS_WRITTEN).not.toBe(0);
    for (const { bit, name } of CATEGORIES) {
      for (const mask of ['returnMask', 'categoryMask', 'categoryAnyofMask']) {
        const told = code({ ...range, returnMask: PAGE_IS_PRESENT, [mask]: bit | PAGE_IS_PRESENT });
        expect([name, mask, told]).toEqual([
          name,
          mask,
          (unknown & bit) !== 0 ? expect.stringMatching(/^E(OPNOTSUPP|PERM)$/) : expect.stringMatching(/^\d/),
        ]);
      }
      // Inverted alone it decides nothing.
      expect(code({ ...range, categoryInverted: bit, returnMask: PAGE_IS_PRESENT })).toMatch(/^\d/);
      // Wrong arguments are found first, as in the kernel.
      expect(code({ ...range, start: start + 1, returnMask: bit })).toBe('EINVAL');
    }
    for (const flags of [1, 2, 3]) expect(code({ ...range, flags, returnMask: 0 })).toBe('EOPNOTSUPP');
  });

  if (platform.cannotTrackAccesses === undefined) accesses(platform);
  else noAccesses(platform);

  test('categories that nobody knows are refused, known ones are not', () => {
    const start = tracked(1);
    // A kernel may know more than this library, but hardly as many.
    expect(() => scan(start, 1, { returnMask: 1 << 30 })).toThrow('EINVAL');
    expect(scan(start, 1, { returnMask: ALL }).regions).toBe(1);
  });
}
