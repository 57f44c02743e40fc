/** A disk that is full in the middle of a snapshot: what is there is whole, the process lives on, and the command says what happened. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { openSnapshots } from '../../src/snapshot/index.js';
import { pmscan } from '../support/cli.js';
import { leftovers } from '../support/kills.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { SmallDisk } from '../support/small-disk.js';
import { findTear, startTorn, type Torn } from '../support/torn.mjs';
import { until } from '../support/until.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'root', 'small-disk');

const MIB = 2 ** 20;
const NO_ROOM =
  'there is no room for it any more, or a limit does not let it grow; those before it are whole';

async function expectWhole(folder: string, target: Torn): Promise<readonly number[]> {
  using snapshots = openSnapshots(folder);
  expect(await snapshots.verify()).toMatchObject({ problems: [], damaged: [] });
  const numbers = snapshots.numbers();
  for (const number of numbers) {
    const snapshot = snapshots.open(number);
    const memory = (address: number, length: number) => Buffer.from(snapshot.read(address, length));
    expect(findTear({ memory } as never, target), `snapshot ${number}`).toBeUndefined();
  }
  return numbers;
}

/** It runs, is not traced, and has nothing of ours. */
async function expectUnharmed(target: Torn): Promise<void> {
  await until('nothing is left', () => leftovers(target.pid) === undefined);
  // Its heartbeat since the last question.
  await target.gap();
  await until('it runs', async () => (await target.gap()) > 0);
}

describe('a disk that gets full', () => {
  live('ends the snapshots, and harms none of them, nor the process', async () => {
    using disk = new SmallDisk(24);
    const target = await startTorn(nativeProgram('torn', ['-pthread']), 2, 2, 3000, '');
    try {
      const folder = join(disk.folder, 'store');
      const snap = (...args: string[]) =>
        pmscan(['snap', target.pid, '-o', folder, '--compress', 'none', '--every', '1ms', ...args]);
      // Until it is full, wherever that is.
      expect(await snap()).toMatchObject({ code: 1, stderr: expect.stringContaining(NO_ROOM) });
      await expectUnharmed(target);
      let numbers = await expectWhole(folder, target);
      expect(numbers.length).toBeGreaterThan(2);
      expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);

      // With room for one more, the others go.
      disk.resize(40);
      expect(await snap('--keep', '2', '--count', '4')).toMatchObject({ code: 0 });
      numbers = await expectWhole(folder, target);
      expect(numbers.length).toBe(2);

      // So much is left: nothing, not even a manifest, a part of the pages, some snapshots.
      for (const leftBytes of [0, 4096, 3 * 4096, 300_000, 1.5 * MIB, 5 * MIB]) {
        disk.fill('ballast', leftBytes);
        const done = await snap();
        expect(done, `${leftBytes} bytes left`).toMatchObject({
          code: 1,
          stderr: expect.stringContaining(NO_ROOM),
        });
        await expectUnharmed(target);
        const after = await expectWhole(folder, target);
        expect(after.slice(0, numbers.length), `${leftBytes} bytes left`).toEqual(numbers);
        rmSync(join(disk.folder, 'ballast'));
        expect(await snap('--keep', '2', '--count', '2'), `after ${leftBytes} bytes`).toMatchObject({
          code: 0,
        });
        numbers = await expectWhole(folder, target);
      }
    } finally {
      await target.stop();
    }
  });
});
