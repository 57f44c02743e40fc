/** Pages that are read in batches: whatever lies where, all of them come back, and what is damaged is told. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openSnapshots } from '../../src/snapshot/index.js';
import { BatchBlocks, readAhead } from '../../src/snapshot/read-ahead.js';
import type { StoreMachine } from '../../src/snapshot/store-file.js';
import { testFolders } from '../support/folders.js';
import { randomBelow } from '../support/random.mjs';
import {
  ABOUT,
  addSnapshot,
  PAGE_SIZE,
  pageOfNumber,
  START,
  StoreWriter,
} from '../support/snapshot-store.js';
import { CoreReader } from '../support/torn.mjs';

const newFolder = testFolders('read-ahead');
const SEED = 7;
/** More than 64 MiB: two data files without compression. */
const PAGES = 17_000;

/** Adds a snapshot of that many pages, each another one. Gives their references. */
async function addPages(store: StoreWriter, count: number): Promise<number[]> {
  const references = Array.from({ length: count }, (_, number) => store.put(pageOfNumber(number + 1)));
  await addSnapshot(store, new Map(references.map((_, page) => [page, page + 1])));
  return references;
}

/** The numbers of pages in batches of random ones, with the same ones again and again. */
function* randomBatches(references: readonly number[]) {
  const below = randomBelow(SEED);
  for (let count = 0; count < 40; count++) {
    const blocks = new BatchBlocks();
    const numbers: number[] = [];
    while (numbers.length < 1000) {
      const number = below(4) === 0 ? below(50) : below(references.length);
      if (!blocks.take(references[number]!)) break;
      numbers.push(number);
    }
    // A page of zeros, and one that is not there, need none.
    yield { numbers: [...numbers, -1, -1], references: [...numbers.map((at) => references[at]!), 0, 1] };
  }
}

describe('reading ahead', () => {
  test.each(['none', 'deflate'] as const)(`gives each page: %s (seed ${SEED})`, async (compression) => {
    const folder = newFolder();
    const count = compression === 'none' ? PAGES : 3000;
    using store = StoreWriter.open(folder, ABOUT, { compression });
    const references = await addPages(store, count);
    let pages = 0;
    await readAhead(folder, randomBatches(references), async ({ numbers, references: asked }, page) => {
      // What another batch is given meanwhile may not touch this one's.
      await new Promise((resolve) => setTimeout(resolve, 1));
      for (const [index, number] of numbers.entries()) {
        pages++;
        if (Buffer.compare(page(asked[index]!), pageOfNumber(number + 1)) !== 0)
          throw new Error(`page ${number} is another one`);
      }
    });
    expect(pages).toBeGreaterThan(40 * 100);
  });

  test('ends with what its user throws, and leaves no file open', async () => {
    const folder = newFolder();
    using store = StoreWriter.open(folder, ABOUT);
    const references = await addPages(store, 1000);
    const open = readdirSync('/proc/self/fd').length;
    const work = readAhead(folder, randomBatches(references), () => {
      throw new Error('no more');
    });
    await expect(work).rejects.toThrow('no more');
    expect(readdirSync('/proc/self/fd').length).toBe(open);
  });

  test('tells damage: in core files and differences', async () => {
    const folder = newFolder();
    {
      using store = StoreWriter.open(folder, ABOUT, { compression: 'none' });
      await addSnapshot(store, new Map(Array.from({ length: 3000 }, (_, page) => [page, page + 1])));
      await addSnapshot(store, new Map(Array.from({ length: 3000 }, (_, page) => [page, page + 2])), []);
    }
    const data = join(folder, 'data-00000001');
    const whole = readFileSync(data);
    const core = join(folder, 'core');
    const attempt = async () => {
      using snapshots = openSnapshots(folder);
      const reasonOf = (work: Promise<unknown>) =>
        work.then(
          () => 'none',
          (error) => `${error.reason}: ${error.message.replace(/.*data-\d+: /, '')}`,
        );
      return [await reasonOf(snapshots.open(1).writeCore(core)), await reasonOf(snapshots.diff(1, 2))];
    };
    expect(await attempt()).toEqual(['none', 'none']);
    rmSync(core);
    for (const [at, why] of [
      [64, 'no block begins there'],
      [64 + 40, "a block's head is not what was written"],
      [64 + 5000, 'a page is not what was written'],
      [whole.length - 10_000, 'a page is not what was written'],
    ] as const) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 4;
      writeFileSync(data, bytes);
      for (const found of await attempt()) expect(found).toContain(`damaged: ${why}`);
    }
    writeFileSync(data, whole.subarray(0, 2_000_000));
    for (const found of await attempt()) expect(found).toMatch(/its file ends before|no block begins there/);
    rmSync(data);
    for (const found of await attempt()) expect(found).toMatch(/^damaged: it is gone/);
    // No half a core file is left.
    expect(readdirSync(folder).filter((name) => name.includes('core'))).toEqual([]);
  });
});

describe('a store of another machine', () => {
  const ARM64: StoreMachine = { architecture: 'arm64', pageSizeBytes: PAGE_SIZE, userSpaceEnd: 2 ** 48 };
  /** Above all memory of x86-64. */
  const ABOVE = 2 ** 47 + 2 ** 40;

  test('gives core files of that one, and its threads and pages', async () => {
    const folder = newFolder();
    mkdirSync(folder);
    const registers = new Uint8Array(34 * 8);
    new DataView(registers.buffer).setBigUint64(31 * 8, BigInt(ABOVE + 0x100), true);
    const ids = { pid: 4242, ppid: 1, pgid: 1, sid: 1 };
    const thread = { tid: 4242, name: 'main', ids, signalMask: 0n, ticks: [0, 0, 0, 0] as const };
    {
      using store = StoreWriter.open(folder, ABOUT, { machine: ARM64 });
      await addSnapshot(store, new Map([[0, 5]]), undefined, undefined, {
        threads: [{ ...thread, registers, registerSets: [] }],
      });
    }
    using snapshots = openSnapshots(folder);
    expect(snapshots.machine).toEqual(ARM64);
    const snapshot = snapshots.open(1);
    expect(snapshot.threads).toEqual([
      { tid: 4242, ownTid: 4242, name: 'main', stackPointer: ABOVE + 0x100 },
    ]);
    // x86-64 has no such addresses: EFAULT.
    const request = { start: ABOVE, end: ABOVE + PAGE_SIZE, categoryMask: 0, returnMask: 0 };
    expect(snapshot.scan(request, null).walkEnd).toBe(request.end);
    const file = join(folder, 'core');
    await snapshot.writeCore(file);
    const bytes = readFileSync(file);
    // EM_AARCH64.
    expect(bytes.readUInt16LE(18)).toBe(183);
    const core = new CoreReader(file);
    expect(Buffer.compare(core.memory(START, PAGE_SIZE)!, pageOfNumber(5))).toBe(0);
    const notes = core.segments.find(({ type }) => type === 4)!;
    core.close();
    // NT_PRSTATUS of arm64 has 392 bytes, with the stack pointer at its place.
    expect(bytes.readUInt32LE(notes.offset + 4)).toBe(392);
    expect(bytes.readBigUInt64LE(notes.offset + 20 + 112 + 31 * 8)).toBe(BigInt(ABOVE + 0x100));
  });
});
