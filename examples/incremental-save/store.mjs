// A crash-safe incremental save of a large buffer. README.md has the promises; record.mjs has the files.
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { allocateTracked, PAGE_SIZE, RegionBuffer } from 'pagemap-scan';
import { DamagedError, listRecords, readRecord, recordFile, syncFolder, writeRecord } from './record.mjs';

/** @typedef {import('./record.mjs').RecordFile} RecordFile */
/** `id` names a state for ever: what is saved on top of it says so. @typedef {RecordFile & { id: Buffer }} State */

/** Memory of which any saved state can be had back. One process at a time uses a folder. */
export class Store {
  /** The memory itself: write to it as you like. */
  bytes;
  /** What had to be set aside on opening: the newest state is older than it should be. @type {{ path: string, why: string }[]} */
  damaged = [];
  #folder;
  #tracker;
  #regions = new RegionBuffer(1024);
  /** 1 for each page whose content is not saved. Collecting a page forgets it: from then on, it is known only here. */
  #unsaved;
  /** The base, and what was saved on top of it. @type {State[]} */
  #states = [];

  /**
   * Opens the store in `folder`, made if need be, and loads the newest state.
   * @param {string} folder @param {number} lengthBytes rounded up to 64 KiB; always the same for one folder
   */
  constructor(folder, lengthBytes) {
    const { buffer, tracker } = allocateTracked(lengthBytes);
    this.bytes = new Uint8Array(buffer);
    this.#tracker = tracker;
    this.#folder = resolve(folder);
    this.#unsaved = new Uint8Array(this.bytes.length / PAGE_SIZE).fill(1);
    try {
      this.#open();
      if (this.#states.length > 0) {
        this.restore(this.newest);
        tracker.reset();
        this.#unsaved.fill(0);
      }
    } catch (error) {
      tracker[Symbol.dispose]();
      throw error;
    }
  }

  /** Sequence numbers of all states that can be restored, the newest last. */
  get saved() {
    return this.#states.map(({ sequence }) => sequence);
  }

  /** Sequence number of the newest state, -1 when nothing is saved yet. */
  get newest() {
    return this.#states.at(-1)?.sequence ?? -1;
  }

  /** Saves what was written since the last save. When it throws, nothing is lost: the next save saves that, too. */
  save() {
    this.#collect();
    const numbers = [];
    for (let page = this.#unsaved.indexOf(1); page >= 0; page = this.#unsaved.indexOf(1, page + 1))
      numbers.push(page);
    const below = this.#states.at(-1);
    const file = recordFile(this.#folder, below === undefined, this.newest + 1);
    const state = writeRecord(file, below?.id ?? randomBytes(32), Uint32Array.from(numbers), this.bytes);
    this.#unsaved.fill(0);
    this.#states.push(state);
    return { sequence: state.sequence, pages: numbers.length, bytes: state.bytes };
  }

  /** A copy of a saved state. @param {number} sequence @throws when any of the files it takes is damaged */
  read(sequence) {
    const last = this.#states.findIndex((state) => state.sequence === sequence);
    if (last < 0) throw new RangeError(`Cannot read state ${sequence}: it is not saved here`);
    const image = new Uint8Array(this.bytes.length);
    for (const state of this.#states.slice(0, last + 1)) {
      const { id } = readRecord(state, image);
      if (!id.equals(state.id)) throw new DamagedError(state.path, 'it was replaced');
    }
    return image;
  }

  /** Makes the memory what it was. History stays: the next save adds a state. @param {number} sequence */
  restore(sequence) {
    const image = this.read(sequence);
    for (let at = 0; at < image.length; at += PAGE_SIZE) {
      const page = image.subarray(at, at + PAGE_SIZE);
      // Pages that are the same already stay unwritten.
      if (Buffer.compare(page, this.bytes.subarray(at, at + PAGE_SIZE)) !== 0) this.bytes.set(page, at);
    }
  }

  /** Makes a state the new base; older ones cannot be restored any more. @param {number} [sequence] */
  compact(sequence = this.newest) {
    const image = this.read(sequence);
    const index = this.saved.indexOf(sequence);
    const old = this.#states[index];
    if (!old.isBase) {
      const allPages = Uint32Array.from(this.#unsaved.keys());
      const base = writeRecord(recordFile(this.#folder, true, sequence), old.id, allPages, image);
      this.#states.splice(0, index + 1, base);
    }
    this.#removeBelow(this.#states[0]);
  }

  /** Ends the tracking; what is not saved is lost. */
  close() {
    this.#tracker[Symbol.dispose]();
  }

  #collect() {
    try {
      for (let done = false; !done; ) {
        ({ done } = this.#tracker.collect(this.#regions));
        for (let index = 0; index < this.#regions.length; index++) {
          const first = (this.#regions.start(index) - this.#tracker.start) / PAGE_SIZE;
          this.#unsaved.fill(1, first, first + this.#regions.pages(index));
        }
      }
    } catch (error) {
      this.#unsaved.fill(1);
      throw error;
    }
  }

  #open() {
    if (!fs.existsSync(this.#folder)) {
      fs.mkdirSync(this.#folder);
      syncFolder(dirname(this.#folder));
    }
    for (const name of fs.readdirSync(this.#folder))
      if (name.endsWith('.tmp')) fs.rmSync(join(this.#folder, name));
    const files = listRecords(this.#folder);
    if (files.length === 0) return;
    for (const file of files.filter(({ isBase }) => isBase).reverse()) {
      if (this.#append(file)) break;
    }
    const base = this.#states[0];
    if (base === undefined) throw new Error(`Cannot open ${this.#folder}: it has no base that is intact`);
    for (const file of files) {
      if (!file.isBase && file.sequence > base.sequence) this.#append(file);
    }
    // The end of the last process may have come before its folder was synced: what is kept must be durable first.
    syncFolder(this.#folder);
    for (const { path } of this.damaged) fs.renameSync(path, `${path}.damaged`);
    this.#removeBelow(base);
  }

  /** Takes the file as the next state, or as damaged. @param {RecordFile} file */
  #append(file) {
    try {
      const { memoryPages, parent, ...state } = readRecord(file);
      if (memoryPages !== this.#unsaved.length)
        throw new Error(`Cannot open ${this.#folder}: its memory has ${memoryPages * PAGE_SIZE} bytes`);
      const below = this.#states.at(-1);
      if (below !== undefined && !(file.sequence === below.sequence + 1 && parent.equals(below.id)))
        throw new DamagedError(file.path, 'what it builds on is damaged or not there');
      this.#states.push(state);
      return true;
    } catch (error) {
      if (!(error instanceof DamagedError)) throw error;
      this.damaged.push({ path: file.path, why: error.why });
      return false;
    }
  }

  /** Removes what the base stands for, the oldest first: without its base, the rest is nothing. @param {State} base */
  #removeBelow(base) {
    for (const { path, sequence } of listRecords(this.#folder)) {
      if (sequence <= base.sequence && path !== base.path) fs.rmSync(path);
    }
  }
}
