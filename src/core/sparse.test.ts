import { describe, expect, test } from 'vitest';
import { mman, PAGE_SIZE, RegionBuffer } from '../abi/index.js';
import type { Mapping } from '../proc/index.js';
import { AddressSpace } from '../sim/index.js';
import { NO_TRAITS } from './filter.js';
import { PageSet } from './page-set.js';
import type { Planned } from './plan.js';
import type { JudgedPart } from './selection.js';
import { isSparse, SparseParts } from './sparse.js';

const GIB = 2 ** 30;
const BASE = 2 ** 40;

function part(bytes: number, over: Partial<Mapping> = {}, trusted = true, huge = false): JudgedPart {
  const mapping: Mapping = {
    start: BASE,
    end: BASE + bytes,
    perms: 'rw-p',
    offset: 0,
    device: { major: 0, minor: 0 },
    inode: 0,
    name: '',
    deleted: false,
    ...over,
  };
  const planned: Planned = { mapping, traits: { ...NO_TRAITS, huge }, known: true, share: 'all' };
  return { start: mapping.start, end: mapping.end, planned, trusted };
}

describe('isSparse', () => {
  const copied = new PageSet();
  for (let gib = 0; gib < 8; gib++) copied.add(BASE + gib * GIB, BASE + gib * GIB + PAGE_SIZE);

  test('is for large anonymous memory that is tracked, and of which little was copied', () => {
    expect(isSparse(part(8 * GIB), copied)).toBe(true);
    expect(isSparse(part(GIB / 2), copied)).toBe(false);
    expect(isSparse(part(8 * GIB, {}, false), copied)).toBe(false);
    expect(isSparse(part(8 * GIB, { inode: 7 }), copied)).toBe(false);
    expect(isSparse(part(8 * GIB, { inode: 7, perms: 'rw-s' }), copied)).toBe(false);
    expect(isSparse(part(8 * GIB, {}, true, true), copied)).toBe(false);
  });

  test('is not for memory that is a thirtieth full', () => {
    const fuller = new PageSet();
    fuller.add(BASE, BASE + (8 * GIB) / 30);
    expect(isSparse(part(8 * GIB), fuller)).toBe(false);
  });
});

describe('SparseParts', () => {
  const pages = (bounds: readonly number[], from: number) => bounds.map((at) => (at - from) / PAGE_SIZE);

  function tracked(count: number) {
    const space = new AddressSpace();
    const start = space.mmap({ lengthBytes: count * PAGE_SIZE, prot: 3 });
    const end = start + count * PAGE_SIZE;
    return { space, start, end };
  }

  test('one look tells what was written and what there is, without what was discarded', () => {
    const { space, start, end } = tracked(100);
    const write = (page: number) => space.write(start + page * PAGE_SIZE, 1);
    for (const page of [3, 4, 50, 70]) write(page);
    using uffd = space.userfaultfd();
    uffd.register(start, end - start);
    for (const page of [3, 4, 50, 70]) uffd.writeProtect(start + page * PAGE_SIZE, PAGE_SIZE);
    // Written anew, new, discarded, and read only.
    write(4);
    write(60);
    space.madvise(start + 50 * PAGE_SIZE, PAGE_SIZE, mman.MADV_DONTNEED);
    space.read(start + 80 * PAGE_SIZE, 1);

    const sparse = new SparseParts(space.pagemap, new RegionBuffer(2), 0);
    expect(pages(sparse.look(start, end), start)).toEqual([4, 5, 60, 61]);
    const found: number[] = [];
    const rest: number[] = [];
    sparse.visit(
      start,
      end + PAGE_SIZE,
      (from, to) => found.push(from, to),
      (from, to) => rest.push(from, to),
    );
    expect(pages(found, start)).toEqual([3, 5, 60, 61, 70, 71]);
    expect(pages(rest, start)).toEqual([100, 101]);
    found.length = 0;
    const fail = () => {
      throw new Error('asked');
    };
    sparse.visit(start + 4 * PAGE_SIZE, start + 60 * PAGE_SIZE, (from, to) => found.push(from, to), fail);
    expect(pages(found, start)).toEqual([4, 5]);
  });

  test('memory that is not tracked is an error, and nothing of it is known then', () => {
    const { space, start, end } = tracked(10);
    space.write(start, 1);
    const sparse = new SparseParts(space.pagemap, new RegionBuffer(2), 0);
    expect(() => sparse.look(start, end)).toThrow(/EPERM/);
    const rest: number[] = [];
    sparse.visit(
      start,
      end,
      () => undefined,
      (from, to) => rest.push(from, to),
    );
    expect(rest).toEqual([start, end]);
  });
});
