import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { NO_TRAITS } from './filter.js';
import { PageSet } from './page-set.js';
import type { Planned } from './plan.js';
import { makeState, type StateMapping, type StateParts } from './state.js';
import type { ProcessFacts } from './threads.js';

const at = (page: number) => page * PAGE_SIZE;

function planned(start: number, end: number, share: Planned['share'], inode = 0): Planned {
  const device = { major: 0, minor: 1 };
  const mapping = { start: at(start), end: at(end), perms: 'rw-p', offset: at(50), device, inode };
  return { mapping: { ...mapping, name: '', deleted: false }, traits: NO_TRAITS, known: true, share };
}

function stateOf(plan: readonly Planned[], more: Partial<StateParts> = {}) {
  return makeState({
    facts: {} as ProcessFacts,
    threads: [],
    plan,
    copied: new PageSet(),
    kept: undefined,
    unkept: () => ({ in: 'sink' }),
    images: new Map(),
    header: () => undefined,
    file: () => undefined,
    ...more,
  });
}

function copiedPages(...runs: readonly [number, number][]): PageSet {
  const set = new PageSet();
  for (const [start, end] of runs) set.add(at(start), at(end));
  return set;
}

function sources(state: ReturnType<typeof makeState>, mapping: StateMapping) {
  const found: (string | number)[][] = [];
  state.visitPages(mapping, (start, end, source) => {
    const where = source.in === 'memory' ? source.at : source.in === 'file' ? source.offset : undefined;
    const offset = where === undefined ? [] : [where / PAGE_SIZE];
    found.push([start / PAGE_SIZE, end / PAGE_SIZE, source.in, ...offset]);
  });
  return found;
}

describe('the state at the stop says of each page where its bytes are', () => {
  test('what was taken last counts, whatever the order in which it was taken', () => {
    const kept = { bytes: new Uint8Array(at(4)), ranges: [at(8), at(10), at(2), at(4)] };
    const state = stateOf([planned(0, 20, 'written')], { copied: copiedPages([1, 5], [8, 12]), kept });
    expect(sources(state, state.mappings[0]!)).toEqual([
      [1, 2, 'sink'],
      [2, 4, 'memory', 2],
      [4, 5, 'sink'],
      [8, 10, 'memory', 0],
      [10, 12, 'sink'],
    ]);
  });

  test('a mapping has the memory of another one as long as both are to be dumped', () => {
    const [whole, view] = [planned(0, 5, 'all', 7), planned(10, 15, 'all', 7)];
    const views = new Map([[view.mapping.start, whole]]);
    const holds = (...plan: Planned[]) =>
      stateOf(plan, { views }).mappings.map(({ holds, sameAs }) => (sameAs === undefined ? holds : sameAs));
    expect(holds(whole, view)).toEqual(['pages', at(0)]);
    expect(holds({ ...whole, share: 'none' }, view)).toEqual(['nothing', 'nothing']);
    expect(holds(whole, { ...view, share: 'none' })).toEqual(['pages', 'nothing']);
  });

  test('kept ranges that reach over mappings are cut at their borders', () => {
    const kept = { bytes: new Uint8Array(at(6)), ranges: [at(2), at(8)] };
    const plan = [planned(0, 5, 'written'), planned(5, 10, 'written')];
    const state = stateOf(plan, { copied: copiedPages([2, 8]), kept });
    expect(state.mappings.map((mapping) => sources(state, mapping))).toEqual([
      [[2, 5, 'memory', 0]],
      [[5, 8, 'memory', 3]],
    ]);
  });

  test('of a private mapping of a file, what the process has not changed is the file’s', () => {
    const state = stateOf([planned(10, 20, 'all', 7)], { copied: copiedPages([12, 14]), file: () => 99 });
    expect(sources(state, state.mappings[0]!)).toEqual([
      [10, 12, 'file', 50],
      [12, 14, 'sink'],
      [14, 20, 'file', 54],
    ]);
  });

  test('what mappings hold', () => {
    const image = Uint8Array.of(1);
    const plan = [
      planned(0, 1, 'written'),
      planned(1, 2, 'written'),
      planned(2, 3, 'none'),
      planned(3, 4, 'all', 7),
      planned(4, 5, 'written-else-header', 7),
      planned(5, 6, 'written-else-header', 7),
      planned(6, 7, 'header', 7),
      planned(7, 8, 'all'),
    ];
    const state = stateOf(plan, {
      copied: copiedPages([1, 3], [5, 7]),
      images: new Map([[at(7), image]]),
      header: (start) => (start === at(0) ? undefined : image),
    });
    expect(state.mappings.map(({ holds }) => holds)).toEqual([
      'nothing',
      'pages',
      'nothing',
      'pages',
      'header',
      'pages',
      'header',
      'image',
    ]);
    for (const mapping of state.mappings)
      if (mapping.holds !== 'pages') expect(sources(state, mapping)).toEqual([]);
  });
});
