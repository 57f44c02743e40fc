// Saves a buffer again and again, goes back to an earlier state, and says what each step took.
//   npm run build && node examples/incremental-save/main.mjs [--mebibytes 64] [--pages 160] [--saves 5] [--folder DIR]
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PAGE_SIZE } from 'pagemap-scan';
import { Store } from './store.mjs';

const { values } = parseArgs({
  options: {
    mebibytes: { type: 'string', default: '64' },
    pages: { type: 'string', default: '160' },
    saves: { type: 'string', default: '5' },
    folder: { type: 'string' },
  },
});
const lengthBytes = Number(values.mebibytes) * 2 ** 20;
const temporary = mkdtempSync(join(tmpdir(), 'incremental-save-'));
const folder = values.folder ?? join(temporary, 'store');

/** @template T @param {string} what @param {() => T} step */
function timed(what, step) {
  const before = performance.now();
  const result = step();
  const took = (performance.now() - before).toFixed(1);
  const saved = /** @type {{ bytes?: unknown } | undefined} */ (result)?.bytes;
  const size = typeof saved === 'number' ? `${(saved / 1024).toFixed(0)} KiB` : '';
  console.log(`${what.padEnd(46)} ${took.padStart(8)} ms ${size.padStart(11)}`);
  return result;
}

const digest = (/** @type {Uint8Array} */ bytes) => createHash('sha256').update(bytes).digest('hex');

try {
  const store = timed(`open ${folder}`, () => new Store(folder, lengthBytes));
  const { bytes } = store;
  /** What each state is, to compare with. @type {Map<number, string>} */
  const digests = new Map();

  for (let at = 0; at < bytes.length; at += 8) bytes[at] = at / PAGE_SIZE;
  const full = timed('save all of it', () => store.save());
  digests.set(full.sequence, digest(bytes));

  for (let round = 0; round < Number(values.saves); round++) {
    for (let page = 0; page < Number(values.pages); page++)
      bytes[Math.floor(Math.random() * bytes.length)] ^= 1 + round;
    const { sequence } = timed(`save what is written, state ${store.newest + 1}`, () => store.save());
    digests.set(sequence, digest(bytes));
  }

  const goal = full.sequence + Math.floor(Number(values.saves) / 2);
  timed(`restore state ${goal}`, () => store.restore(goal));
  if (digest(bytes) !== digests.get(goal)) throw new Error(`State ${goal} is not what was saved`);
  const back = timed('save that as the newest state', () => store.save());
  timed('make it the new base', () => store.compact());
  store.close();

  const again = timed('open it again', () => new Store(folder, lengthBytes));
  if (again.newest !== back.sequence || digest(again.bytes) !== digests.get(goal))
    throw new Error(`State ${back.sequence} is not what was saved`);
  again.close();
  console.log('All states were what was saved.');
} finally {
  rmSync(temporary, { recursive: true });
}
