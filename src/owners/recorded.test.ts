/** Recognisers on evidence of programs that a machine need not have: what they read was recorded, and what the programs say of themselves. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { type Mapping, parseMaps } from '../proc/index.js';
import { type ThreadEvidence, Words } from './evidence.js';
import type { Owner } from './owner.js';
import { recogniseOwners } from './recognise.js';

interface Recording {
  readonly pid: number;
  readonly program: string;
  readonly threads: readonly ThreadEvidence[];
  readonly maps: readonly string[];
  /** What is in memory, by the address where its mapping starts. */
  readonly presentKiB: Readonly<Record<string, number>>;
  readonly words: Readonly<Record<string, string>>;
  /** Ranges, and what the program says that they are. */
  readonly truth: readonly (readonly [start: string, end: string, what: string])[];
}

interface Recognised {
  readonly mapping: Mapping;
  readonly owner: Owner | undefined;
  readonly presentKiB: number;
  /** All that the program says of parts of it. */
  readonly truth: readonly string[];
  /** Whether it says something of all of it. */
  readonly isWhole: boolean;
}

function recognise(name: string): Recognised[] {
  const path = join(import.meta.dirname, '../../test/owners', name);
  const { pid, program, threads, maps, presentKiB, words, truth } = JSON.parse(
    readFileSync(path, 'utf8'),
  ) as Recording;
  const mappings = parseMaps(new TextEncoder().encode(`${maps.join('\n')}\n`)).filter(
    ({ start }) => start < 2 ** 56,
  );
  const read = (address: number, count: number) => {
    const found = words[`${address.toString(16)}+${count}`];
    if (found === undefined) return undefined;
    const halves = new Uint32Array(count * 2);
    for (const [index, text] of found.split(' ').entries()) {
      halves[2 * index] = Number.parseInt(text.slice(-8), 16);
      halves[2 * index + 1] = Number.parseInt(text.slice(0, -8) || '0', 16);
    }
    return new Words(halves);
  };
  const owners = recogniseOwners({ pid, pageSize: PAGE_SIZE, program, threads, mappings, read });
  return mappings.map((mapping, index) => {
    const parts = truth
      .map(([start, end, what]) => ({
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end, 16),
        what,
      }))
      .filter(({ start, end }) => start < mapping.end && end > mapping.start);
    const told = parts.reduce(
      (sum, { start, end }) => sum + Math.min(end, mapping.end) - Math.max(start, mapping.start),
      0,
    );
    return {
      mapping,
      owner: owners[index],
      presentKiB: presentKiB[mapping.start.toString(16)] ?? 0,
      truth: parts.map(({ what }) => what),
      isWhole: told >= mapping.end - mapping.start,
    };
  });
}

const kib = (list: readonly Recognised[]) => list.reduce((sum, { presentKiB }) => sum + presentKiB, 0);

function namedShare(all: readonly Recognised[]): number {
  const anonymous = all.filter(({ mapping }) => !mapping.name.startsWith('/'));
  return kib(anonymous.filter(({ owner }) => owner !== undefined)) / kib(anonymous);
}

describe('OpenJDK 17', () => {
  const all = recognise('java-17.json');
  /** What each kind of owner may be called by the virtual machine's own account. */
  const CALLED: Readonly<Record<string, readonly string[]>> = {
    'java-heap': ['Java Heap'],
    'java-metaspace': ['Metaspace', 'Class'],
    'java-code': ['Code'],
    'java-vm': ['GC', 'Class', 'Code', 'Shared class space', 'Internal', 'Safepoint'],
    stack: ['Thread Stack'],
    'stack-guard': ['Thread Stack'],
  };

  test('no name contradicts what the virtual machine says', () => {
    // It says nothing of what malloc maps, with which the kernel may have joined a part of its own: that is said to be likely only.
    const wrong = all.filter(
      ({ owner, truth, isWhole, mapping }) =>
        owner !== undefined &&
        owner.kind !== 'reserved' &&
        mapping.name === '' &&
        truth.length > 0 &&
        (owner.sure || isWhole) &&
        !truth.some((what) => CALLED[owner.kind]?.includes(what)),
    );
    expect(
      wrong.map(({ mapping, owner, truth }) => [mapping.start.toString(16), owner?.name, truth]),
    ).toEqual([]);
  });

  test('most of what is there has a name, and each part of the account is found', () => {
    expect(namedShare(all)).toBeGreaterThan(0.95);
    for (const [kind, what] of [
      ['java-heap', 'Java Heap'],
      ['java-metaspace', 'Metaspace'],
      ['java-code', 'Code'],
      ['stack', 'Thread Stack'],
    ]) {
      const parts = all.filter(({ truth, mapping }) => truth.includes(what!) && mapping.name === '');
      const found = parts.filter(({ owner }) => owner?.kind === kind);
      expect(kib(found) / kib(parts), what).toBeGreaterThan(0.8);
    }
    expect(all.filter(({ owner }) => owner?.name.startsWith('[stack: G1 Main Marker '))).toHaveLength(1);
  });
});

describe('Go 1.19', () => {
  const all = recognise('go-1.19.json');

  test('the heap is where the runtime has it, and nothing else is called so', () => {
    const heap = all.filter(({ owner }) => owner?.kind === 'go-heap');
    expect(heap.map(({ truth }) => truth)).toEqual([['heap and stacks'], []]);
    expect(heap.every(({ owner }) => owner!.sure)).toBe(true);
    // The second is what is kept for it.
    expect(heap[1]!.mapping.perms).toBe('---p');
    expect(namedShare(all)).toBeGreaterThan(0.95);
  });
});
