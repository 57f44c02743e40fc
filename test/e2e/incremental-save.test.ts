/**
 * The example examples/incremental-save: saves and restores against a model, its process killed at random moments, calls
 * that fail, files that are damaged. PMSCAN_SEED repeats a run, PMSCAN_KILLS sets the number of kills.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { afterAll, expect } from 'vitest';
import { Store } from '../../examples/incremental-save/store.mjs';
import { testWhere } from '../support/needs.js';
import { random } from '../support/random.mjs';

const EXAMPLE = join(import.meta.dirname, '../../examples/incremental-save');
const LENGTH = 128 * 1024;
const PAGES = LENGTH / 4096;
const KILLS = Number(process.env['PMSCAN_KILLS'] ?? 40);
const SEED = Number(process.env['PMSCAN_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`PMSCAN_SEED=${SEED}`);

const live = testWhere('pagemap-scan', 'wp-async');
const root = fs.mkdtempSync(join(tmpdir(), 'incremental-save-test-'));
afterAll(() => fs.rmSync(root, { recursive: true }));

let folders = 0;
const newFolder = () => join(root, String(folders++));
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** Runs `work` on the opened store, and closes it. */
function withStore<T>(folder: string, work: (store: Store) => T): T {
  const store = new Store(folder, LENGTH);
  try {
    return work(store);
  } finally {
    store.close();
  }
}

/** Writes to some random places. */
function scribble(bytes: Uint8Array, next: () => number): void {
  const count = Math.floor(next() * 8);
  for (let write = 0; write < count; write++) {
    const at = Math.floor(next() * bytes.length);
    bytes.fill(Math.floor(next() * 256), at, at + Math.floor(next() ** 4 * 5 * 4096));
  }
}

function expectStates(store: Store, model: ReadonlyMap<number, string>): void {
  expect(store.damaged).toEqual([]);
  for (const sequence of store.saved) expect(digest(store.read(sequence))).toBe(model.get(sequence));
}

live('random writes, saves, restores, compactions and openings are as in a model', () => {
  const next = random(SEED);
  const folder = newFolder();
  const states = new Map<number, Uint8Array>();
  let current = new Uint8Array(LENGTH);
  let store = new Store(folder, LENGTH);
  for (let step = 0; step < 600; step++) {
    const choice = next();
    const pick = () => store.saved[Math.floor(next() * store.saved.length)]!;
    if (choice < 0.45) {
      scribble(store.bytes, next);
      current = store.bytes.slice();
    } else if (choice < 0.75) {
      const { sequence } = store.save();
      expect(sequence).toBe(states.size);
      states.set(sequence, current.slice());
    } else if (store.saved.length === 0) {
      expect(() => store.read(0)).toThrow('Cannot read state 0: it is not saved here');
    } else if (choice < 0.87) {
      const sequence = pick();
      store.restore(sequence);
      current = states.get(sequence)!.slice();
    } else if (choice < 0.92) {
      const sequence = pick();
      store.compact(sequence);
      expect(store.saved[0]).toBe(sequence);
    } else {
      const { saved } = store;
      store.close();
      store = new Store(folder, LENGTH);
      expect(store.saved).toEqual(saved);
      current = states.get(store.newest)!.slice();
    }
    expect(Buffer.compare(store.bytes, current)).toBe(0);
    if (step % 20 === 0)
      expectStates(store, new Map([...states].map(([key, bytes]) => [key, digest(bytes)])));
  }
  store.close();
});

live('an increment has the pages that were written, and no others', () => {
  const folder = newFolder();
  withStore(folder, (store) => {
    expect(store.save()).toEqual({ sequence: 0, pages: PAGES, bytes: 96 + PAGES * 4100 });
    expect(store.save().pages).toBe(0);
    store.bytes[5 * 4096] = 1;
    store.bytes[7 * 4096] = 1;
    expect(store.save()).toEqual({ sequence: 2, pages: 2, bytes: 96 + 2 * 4100 });
    store.restore(0);
    expect(store.save().pages).toBe(2);
    store.bytes[7 * 4096] = 1;
    store.save();
  });
  // Loading what is saved does not make it unsaved.
  withStore(folder, (store) => expect(store.save().pages).toBe(0));
});

live('a memory of another size is refused, and nothing is changed', () => {
  const folder = newFolder();
  withStore(folder, (store) => store.save());
  const before = fs.readdirSync(folder);
  expect(() => new Store(folder, 2 * LENGTH)).toThrow('its memory has 131072 bytes');
  expect(fs.readdirSync(folder)).toEqual(before);
});

live('what a store does on the disk is in the order that survives a loss of power', () => {
  const folder = newFolder();
  withStore(folder, (store) => {
    store.save();
    store.bytes[0] = 1;
    const { log } = withFaults(Number.POSITIVE_INFINITY, false, () => store.save());
    const put = Array(4).fill('writeFileSync');
    const synced = ['openSync', 'fsyncSync', 'closeSync'];
    expect(log).toEqual(['openSync', ...put, 'fsyncSync', 'closeSync', 'renameSync', ...synced]);
    const compaction = withFaults(Number.POSITIVE_INFINITY, false, () => store.compact());
    const written = compaction.log.slice(compaction.log.indexOf('writeFileSync') - 1);
    expect(written).toEqual([...log, 'rmSync', 'rmSync']);
  });
});

const CALLS = ['openSync', 'writeFileSync', 'fsyncSync', 'closeSync', 'renameSync', 'rmSync'] as const;

/**
 * Runs `work` while the call with this index fails, as on a full disk, and all that follow when `forever`: as if the
 * process ended there.
 */
function withFaults(index: number, forever: boolean, work: () => unknown) {
  const log: string[] = [];
  const calls = fs as unknown as Record<string, (...args: never[]) => unknown>;
  const originals = CALLS.map((name) => [name, calls[name]!] as const);
  let error: unknown;
  for (const [name, original] of originals) {
    calls[name] = (...args: never[]) => {
      const at = log.push(name) - 1;
      if (!(forever ? at >= index : at === index)) return original(...args);
      // A part is done all the same.
      if (name === 'closeSync') original(...args);
      if (name === 'writeFileSync' && at === index) {
        const [fd, bytes] = args as unknown as [number, Uint8Array];
        fs.writeSync(fd, bytes, 0, bytes.length >> 1);
      }
      throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
    };
  }
  try {
    work();
  } catch (thrown) {
    error = thrown;
  } finally {
    for (const [name, original] of originals) calls[name] = original;
  }
  return { log, error, failed: log.length > index };
}

/** A store with a base, two increments, and a page that is not saved; a model of it. */
function prepared(folder: string) {
  const store = new Store(folder, LENGTH);
  const model = new Map<number, string>();
  for (const value of [1, 2, 3]) {
    store.bytes.fill(value, 4096 * value, 4096 * (value + 3));
    model.set(store.save().sequence, digest(store.bytes));
  }
  store.bytes[9 * 4096] = 99;
  return { store, model };
}

live('whichever call of a save fails, the next save has its pages', () => {
  for (let index = 0; ; index++) {
    const folder = newFolder();
    const { store, model } = prepared(folder);
    const { failed, error } = withFaults(index, false, () => store.save());
    if (!failed) {
      expect(index).toBeGreaterThan(8);
      store.close();
      break;
    }
    expect(error).toMatchObject({ code: 'ENOSPC' });
    expectStates(store, model);
    expect(store.newest).toBe(2);
    // Nothing more is to be seen of the failed one, and it does not matter for how long it fails.
    expect(fs.readdirSync(folder).length).toBe(3);
    expect(withFaults(0, true, () => store.save()).error).toMatchObject({ code: 'ENOSPC' });
    store.bytes[10 * 4096] = 98;
    expect(store.save()).toMatchObject({ sequence: 3, pages: 2 });
    model.set(3, digest(store.bytes));
    store.close();
    withStore(folder, (opened) => {
      expect(opened.saved).toEqual([0, 1, 2, 3]);
      expect(digest(opened.bytes)).toBe(model.get(3));
      expectStates(opened, model);
    });
  }
});

live('whichever call of a first save fails, the next save is the first', () => {
  for (let index = 0; ; index++) {
    const folder = newFolder();
    const store = new Store(folder, LENGTH);
    store.bytes[5] = 5;
    const { failed } = withFaults(index, false, () => store.save());
    if (failed) expect(store.save()).toMatchObject({ sequence: 0, pages: PAGES });
    store.close();
    withStore(folder, ({ bytes, saved }) => expect([bytes[5], ...saved]).toEqual([5, 0]));
    if (!failed) break;
  }
});

for (const [what, step] of [
  ['a save', (store: Store) => store.save()],
  ['a compaction', (store: Store) => store.compact()],
  ['a compaction into an older state', (store: Store) => store.compact(1)],
] as const) {
  live(`wherever ${what} ends for ever, what was saved is there`, () => {
    for (let index = 0; ; index++) {
      const folder = newFolder();
      const { store, model } = prepared(folder);
      const after = new Map(model).set(3, digest(store.bytes));
      const { failed } = withFaults(index, true, () => step(store));
      store.close();
      // The next process may end while it opens the store, too.
      for (let opening = 0; ; opening++) {
        if (!withFaults(opening, true, () => new Store(folder, LENGTH).close()).failed) break;
      }
      withStore(folder, (opened) => {
        expect([2, 3]).toContain(opened.newest);
        expect(digest(opened.bytes)).toBe(after.get(opened.newest));
        expectStates(opened, after);
        expect(fs.readdirSync(folder).length).toBe(opened.saved.length);
      });
      if (!failed) break;
    }
  });

  live(`when a call of ${what} fails once, the store goes on`, () => {
    for (let index = 0; ; index++) {
      const folder = newFolder();
      const { store, model } = prepared(folder);
      const { failed } = withFaults(index, false, () => step(store));
      expectStates(store, new Map(model).set(3, digest(store.bytes)));
      const { sequence } = store.save();
      expect(digest(store.read(sequence))).toBe(digest(store.bytes));
      step(store);
      const { newest } = store;
      const expected = digest(store.bytes);
      store.close();
      withStore(folder, (opened) => {
        expect([opened.newest, digest(opened.bytes)]).toEqual([newest, expected]);
        expect(opened.damaged).toEqual([]);
      });
      if (!failed) break;
    }
  });
}

live('damage anywhere in any file is found', () => {
  const next = random(SEED + 1);
  const original = newFolder();
  const { store, model } = prepared(original);
  store.close();
  const names = fs.readdirSync(original).sort();
  expect(names.length).toBe(3);
  const contents = names.map((name) => fs.readFileSync(join(original, name)));
  const folder = newFolder();
  let damages = 0;

  const check = (index: number, damaged: Uint8Array | undefined) => {
    damages++;
    fs.rmSync(folder, { recursive: true, force: true });
    fs.mkdirSync(folder);
    names.forEach((name, at) => {
      const content = at === index ? damaged : contents[at]!;
      if (content !== undefined) fs.writeFileSync(join(folder, name), content);
    });
    if (index === 0) {
      expect(() => new Store(folder, LENGTH)).toThrow('no base that is intact');
      expect(fs.readdirSync(folder).filter((name) => !names.includes(name))).toEqual([]);
      return;
    }
    withStore(folder, (opened) => {
      expect(opened.newest).toBe(index - 1);
      expect(digest(opened.bytes)).toBe(model.get(index - 1));
      const setAside = names.slice(damaged === undefined ? index + 1 : index);
      expect(opened.damaged.map(({ path }) => path)).toEqual(setAside.map((name) => join(folder, name)));
      // It is kept for whoever wants to look at it.
      for (const name of setAside) expect(fs.existsSync(join(folder, `${name}.damaged`))).toBe(true);
    });
  };

  contents.forEach((content, index) => {
    // All of the header, the first page numbers and the checksum, and some bytes of each page.
    const places = new Set<number>();
    for (let at = 0; at < 80; at++) places.add(at).add(content.length - 1 - (at % 32));
    for (let at = 0; at < content.length; at += 1024)
      places.add(Math.min(content.length - 1, at + Math.floor(next() * 1024)));
    for (const at of places) {
      const damaged = Buffer.from(content);
      damaged[at]! ^= 1 << Math.floor(next() * 8);
      check(index, damaged);
    }
    for (const length of [0, 1, 63, 64, 80, 4096, content.length - 33, content.length - 1])
      check(index, content.subarray(0, length));
    check(index, Buffer.concat([content, Buffer.alloc(1)]));
    check(index, Buffer.alloc(content.length));
    check(index, contents[(index + 1) % 3]!);
    check(index, undefined);
  });
  console.log(`${damages} damages`);
});

live('damage that comes after opening is found, and the memory stays as it is', () => {
  const folder = newFolder();
  const { store } = prepared(folder);
  for (const name of fs.readdirSync(folder)) {
    const path = join(folder, name);
    const content = fs.readFileSync(path);
    const damaged = Buffer.from(content);
    damaged[content.length - 100]! ^= 1;
    fs.writeFileSync(path, damaged);
    const before = digest(store.bytes);
    expect(() => store.restore(2)).toThrow(`Cannot use ${path}: its checksum is wrong`);
    expect(() => store.compact()).toThrow('its checksum is wrong');
    expect(digest(store.bytes)).toBe(before);
    fs.writeFileSync(path, content);
  }
  // An increment of another history is whole, but not the one that was saved.
  const other = newFolder();
  prepared(other).store.close();
  fs.copyFileSync(join(other, '000000000001.increment'), join(folder, '000000000001.increment'));
  expect(() => store.restore(2)).toThrow('it was replaced');
  store.close();
  withStore(folder, ({ saved, damaged }) => {
    expect(saved).toEqual([0]);
    expect(damaged.length).toBe(2);
  });
});

/** Saves for ever. Writes down what it is about to save, and that it was saved: `begin 7 DIGEST`, `done 7`. */
const SAVER = `
  import { createHash } from 'node:crypto';
  import { appendFileSync } from 'node:fs';
  const [module, folder, log, length] = process.argv.slice(1);
  const { Store } = await import(module);
  const store = new Store(folder, Number(length));
  const { bytes } = store;
  process.stdout.write('open');
  for (;;) {
    for (let count = Math.random() * 8; count > 0; count--) {
      const at = Math.floor(Math.random() * bytes.length);
      bytes.fill(Math.random() * 256, at, at + Math.random() ** 4 * 5 * 4096);
    }
    const digest = createHash('sha256').update(bytes).digest('hex');
    appendFileSync(log, 'begin ' + (store.newest + 1) + ' ' + digest + '\\n');
    const { sequence } = store.save();
    appendFileSync(log, 'done ' + sequence + '\\n');
    const pick = () => store.saved[Math.floor(Math.random() * store.saved.length)];
    if (store.saved.length > 12 || Math.random() < 0.2) store.compact(pick());
    if (Math.random() < 0.2) store.restore(pick());
    await new Promise(setImmediate);
  }
`;

live(
  `after each of ${KILLS} kills at random moments, the last state or the one that was being saved is there`,
  async () => {
    const next = random(SEED + 2);
    const folder = newFolder();
    const log = `${folder}.log`;
    fs.writeFileSync(log, '');
    const model = new Map<number, string>();
    let begun = -1;
    let done = -1;
    let readBytes = 0;
    let inFlight = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const url = pathToFileURL(join(EXAMPLE, 'store.mjs')).href;
      const args = ['--input-type=module', '-e', SAVER, url, folder, log, String(LENGTH)];
      const child = spawn(process.execPath, args, {
        cwd: EXAMPLE,
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const exited = once(child, 'exit');
      // Half of them while they start and open the store, or soon after.
      if (kill % 2 === 0) await Promise.race([once(child.stdout, 'data'), exited]);
      await sleep(next() * 150);
      child.kill('SIGKILL');
      expect(await exited).toEqual([null, 'SIGKILL']);

      const text = fs.readFileSync(log, 'latin1');
      for (const line of text.slice(readBytes).split('\n')) {
        const [what, sequence, state] = line.split(' ');
        if (what === 'begin') {
          begun = Number(sequence);
          model.set(begun, state!);
        }
        if (what === 'done') done = Number(sequence);
      }
      readBytes = text.length;
      withStore(folder, (store) => {
        expect(store.newest === done || store.newest === begun).toBe(true);
        if (store.newest > done) inFlight++;
        if (store.newest >= 0) expect(digest(store.bytes)).toBe(model.get(store.newest));
        expectStates(store, model);
        // The one in flight that is there stays; the one that is not is gone.
        done = begun = store.newest;
      });
    }
    console.log(`${KILLS} kills, ${done + 1} saves; ${inFlight} times the one in flight was there`);
    expect(done).toBeGreaterThan(0);
  },
  60_000 + KILLS * 3000,
);

live('the demo runs', () => {
  const args = [join(EXAMPLE, 'main.mjs'), '--mebibytes', '4', '--saves', '3'];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect([stderr, status]).toEqual(['', 0]);
  expect(stdout).toContain('All states were what was saved.');
});
