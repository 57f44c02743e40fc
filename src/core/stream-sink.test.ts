import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { CoreReader } from '../../test/support/torn.mjs';
import { PAGE_SIZE } from '../abi/index.js';
import { x64 } from './arch-x64.js';
import { NO_TRAITS } from './filter.js';
import type { PageCopier } from './sink.js';
import type { PageSource, ProcessState, StateMapping } from './state.js';
import { joinNear, StreamSink } from './stream-sink.js';

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-stream-'));
afterAll(() => rmSync(folder, { recursive: true }));

const BASE = 2 ** 40;
const at = (page: number) => BASE + page * PAGE_SIZE;

/** Pages that have their number in each byte. */
function pagesOf(start: number, end: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(end - start);
  for (let done = 0; done < bytes.length; done += PAGE_SIZE)
    bytes.fill(1 + (((start + done - BASE) / PAGE_SIZE) % 251), done, done + PAGE_SIZE);
  return bytes;
}

type Run = readonly [start: number, end: number, where: PageSource['in']];

function mappingOf(start: number, end: number, holds: StateMapping['holds']): StateMapping {
  const mapping = { start: at(start), end: at(end), perms: 'rw-p', offset: 0, inode: 0, name: '' };
  const image = holds === 'image' || holds === 'header' ? pagesOf(at(start), at(start + 1)) : undefined;
  return {
    mapping: { ...mapping, device: { major: 0, minor: 0 }, deleted: false },
    traits: NO_TRAITS,
    known: true,
    share: 'all',
    holds,
    image,
  };
}

function stateOf(mappings: readonly StateMapping[], runs: readonly Run[]): ProcessState {
  const ids = { pid: 7, ppid: 1, pgid: 7, sid: 7 };
  const bytes = new Uint8Array(PAGE_SIZE);
  return {
    facts: {
      ...{ ids, state: 'S', flags: 0, nice: 0, uid: 0, gid: 0, isElsewhere: false },
      ...{ name: bytes.subarray(0, 4), commandLine: bytes.subarray(0, 4), auxv: bytes.subarray(0, 16) },
    },
    threads: [],
    mappings,
    visitPages({ mapping }, visit) {
      for (const [first, last, where] of runs) {
        const [start, end] = [at(first), at(last)];
        if (start < mapping.start || start >= mapping.end) continue;
        if (where === 'memory') visit(start, end, { in: where, bytes: pagesOf(start, end), at: 0 });
        else if (where === 'file') visit(start, end, { in: where, fd: 5, offset: start });
        else visit(start, end, { in: where });
      }
    },
  };
}

/** Keeps a state; what of it is read back from the core file. */
async function keep(state: ProcessState, name: string): Promise<CoreReader> {
  const chunks: Uint8Array[] = [];
  const sink = new StreamSink(
    x64,
    async (source: Readable) => {
      for await (const chunk of source) chunks.push(chunk as Uint8Array);
      return chunks.reduce((sum, { length }) => sum + length, 0);
    },
    '',
  );
  // One buffer that is used again for everything, as soon as that is allowed.
  let last: Promise<void> = Promise.resolve();
  const give = async (start: number, end: number) => {
    await last;
    const bytes = pagesOf(start, end);
    last = sink.write(bytes, [start, end]).then(() => {
      bytes.fill(255);
    });
  };
  const pages: PageCopier = {
    async copy(ranges) {
      for (let index = 0; index < ranges.length; index += 2) await give(ranges[index]!, ranges[index + 1]!);
    },
    // Of each two pages of a file, the second is a hole.
    async copyFile(_, start, end) {
      for (let page = start; page < end; page += 2 * PAGE_SIZE) await give(page, page + PAGE_SIZE);
    },
    drain: () => last,
  };
  const { bytes, storedBytes } = await sink.finish(state, pages);
  expect(storedBytes).toBe(bytes);
  const file = join(folder, name);
  writeFileSync(file, Buffer.concat(chunks));
  return new CoreReader(file);
}

/** The number that all bytes of a page have; undefined where the file has none. */
function pageOf(core: CoreReader, page: number): number | undefined {
  const memory = core.memory(at(page), PAGE_SIZE);
  if (memory?.some((byte) => byte !== memory[0])) throw new Error(`Page ${page} is torn`);
  return memory?.[0];
}

describe('a core file that is written once, from its beginning to its end', () => {
  test('all sources, in the order of addresses; what has none is zero', async () => {
    const mappings = [mappingOf(0, 100, 'pages'), mappingOf(200, 300, 'pages'), mappingOf(300, 304, 'image')];
    const runs: Run[] = [
      [0, 2, 'process'],
      [5, 6, 'memory'],
      [60, 70, 'process'],
      [200, 204, 'file'],
      [250, 251, 'process'],
    ];
    const core = await keep(stateOf(mappings, runs), 'sources');
    for (let page = 0; page < 304; page++) {
      const run = runs.find(([start, end]) => start <= page && page < end);
      const isHole = run?.[2] === 'file' && page % 2 === 1;
      const isMapped = page < 100 || page >= 200;
      const number = page === 300 || (run !== undefined && !isHole) ? 1 + (page % 251) : 0;
      expect([page, pageOf(core, page)]).toEqual([page, isMapped && page <= 300 ? number : undefined]);
    }
    // All but those that show the zeros at the end.
    const hole = Math.max(...core.loads.filter(({ fileBytes }) => fileBytes > 0).map(({ offset }) => offset));
    const offsets = core.loads.map(({ offset }) => offset).filter((offset) => offset !== hole);
    expect(offsets.length).toBeGreaterThan(4);
    expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
    core.close();
  });

  test('parts of which nothing else is known, what is zero, and what is not there', async () => {
    const mappings = [
      mappingOf(0, 100, 'parts'),
      mappingOf(100, 200, 'zeros'),
      mappingOf(200, 300, 'nothing'),
    ];
    const core = await keep(
      stateOf(mappings, [
        [10, 12, 'process'],
        [14, 15, 'process'],
      ]),
      'parts',
    );
    expect([9, 10, 11, 12, 13, 14, 15].map((page) => pageOf(core, page))).toEqual([
      ...[undefined, 11, 12, undefined, undefined, 15, undefined],
    ]);
    expect([100, 199, 200].map((page) => pageOf(core, page))).toEqual([0, 0, undefined]);
    // All mappings are told of, to their ends.
    expect(core.loads.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0)).toBe(300 * PAGE_SIZE);
    core.close();
  });

  test('a terabyte that holds three pages is no long file', async () => {
    const pages = 2 ** 28;
    const runs: Run[] = [1, pages / 2, pages - 1].map((page) => [page, page + 1, 'process']);
    const core = await keep(stateOf([mappingOf(0, pages, 'pages')], runs), 'sparse');
    expect(core.length).toBeLessThan(80 << 20);
    expect(core.loads.length).toBeLessThan(20_000);
    expect([0, 1, 2, pages / 2, pages - 1].map((page) => pageOf(core, page))).toEqual(
      [0, 1, 2, pages / 2, pages - 1].map((page) => (page === 0 || page === 2 ? 0 : 1 + (page % 251))),
    );
    core.close();
  });

  test('more segments than a header can count', async () => {
    const mappings = Array.from({ length: 70_000 }, (_, index) =>
      mappingOf(index * 2, index * 2 + 1, 'pages'),
    );
    const runs: Run[] = [
      [0, 1, 'process'],
      [139_998, 139_999, 'process'],
    ];
    const core = await keep(stateOf(mappings, runs), 'many');
    expect(core.loads.length).toBe(70_000);
    expect([0, 2, 139_998].map((page) => pageOf(core, page))).toEqual([1, 0, 1 + (139_998 % 251)]);
    core.close();
  });

  test('a failure of what it is sent to is told, whatever is under way', async () => {
    const sink = new StreamSink(
      x64,
      async (source) => {
        for await (const _ of source) throw new Error('the reader went away');
        return 0;
      },
      '',
    );
    const pages: PageCopier = {
      async copy(ranges) {
        for (let index = 0; index < ranges.length; index += 2)
          await sink.write(pagesOf(ranges[index]!, ranges[index + 1]!), ranges.slice(index, index + 2));
      },
      copyFile: async () => undefined,
      drain: async () => undefined,
    };
    const runs: Run[] = Array.from({ length: 20 }, (_, index) => [
      index * 1000,
      index * 1000 + 900,
      'process',
    ]);
    const finishing = sink.finish(stateOf([mappingOf(0, 20_000, 'pages')], runs), pages);
    await expect(finishing).rejects.toThrow('the reader went away');
  });

  test('joinNear', () => {
    const pieces = [
      [0, 1],
      [3, 4],
      [20, 21],
    ].map(([start, end]) => ({ start: start!, end: end! }));
    expect(joinNear(pieces, 2)).toEqual([0, 4, 20, 21]);
    expect(joinNear(pieces, 1)).toEqual([0, 1, 3, 4, 20, 21]);
    expect(joinNear([], 1)).toEqual([]);
  });
});
