/**
 * The blocks of a store as its writer knows them: which pages they hold, by content, and whether any snapshot still needs
 * them. A block is needed while a page of the newest snapshot is in it, and after that until the last snapshot that had one is
 * dropped.
 */
import { blockOf, CHECK_BYTES } from './block.js';

export interface Block {
  /** The reference of its first page. */
  readonly reference: number;
  /** What it takes in its file, bytes. */
  readonly bytes: number;
  /** The pages' check values, one behind the other. */
  readonly checks: Uint8Array;
  /** How many addresses of the newest snapshot show one of its pages. */
  users: number;
  /** Once it has no users, the last snapshot that had any. */
  lastUse: number;
}

const FREE = 0;
const DELETED = -1;

export class BlockIndex {
  readonly #blocks = new Map<number, Block>();
  /** References of pages, by their check values: open addressing. */
  #slots = new Float64Array(1024);
  /** Slots that are not `FREE`. */
  #filled = 0;
  /** Blocks without users, by the last snapshot that had any. */
  readonly #unused = new Map<number, Set<Block>>();
  #bytes = 0;

  /** What all blocks take, bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  add(reference: number, bytes: number, checks: Uint8Array): void {
    const block = { reference, bytes, checks, users: 0, lastUse: 0 };
    this.#blocks.set(reference, block);
    this.#bytes += bytes;
    for (let index = 0; index * CHECK_BYTES < checks.length; index++)
      this.addPage(reference + index, checks, index);
  }

  has(reference: number): boolean {
    return this.#blocks.has(blockOf(reference));
  }

  /** Makes a page findable by its check value, the one at `index` of `checks`. */
  addPage(reference: number, checks: Uint8Array, index: number): void {
    if (this.#filled * 2 >= this.#slots.length) this.#rebuild();
    const mask = this.#slots.length - 1;
    let slot = firstWord(checks, index * CHECK_BYTES) & mask;
    while (this.#slots[slot]! > FREE) slot = (slot + 1) & mask;
    if (this.#slots[slot] === FREE) this.#filled++;
    this.#slots[slot] = reference;
  }

  #rebuild(): void {
    const before = this.#slots.filter((reference) => reference > FREE);
    const size = before.length * 4 > this.#slots.length ? this.#slots.length * 2 : this.#slots.length;
    this.#slots = new Float64Array(size);
    this.#filled = before.length;
    for (const reference of before) {
      const { checks, reference: first } = this.#blocks.get(blockOf(reference))!;
      let slot = firstWord(checks, (reference - first) * CHECK_BYTES) & (size - 1);
      while (this.#slots[slot] !== FREE) slot = (slot + 1) & (size - 1);
      this.#slots[slot] = reference;
    }
  }

  /** The page that has this check value; undefined when there is none. */
  find(check: Uint8Array): number | undefined {
    const mask = this.#slots.length - 1;
    for (let slot = firstWord(check, 0) & mask; this.#slots[slot] !== FREE; slot = (slot + 1) & mask) {
      const reference = this.#slots[slot]!;
      if (reference > FREE && this.#hasCheck(reference, check)) return reference;
    }
    return undefined;
  }

  #hasCheck(reference: number, check: Uint8Array): boolean {
    const block = this.#blocks.get(blockOf(reference))!;
    const at = (reference - block.reference) * CHECK_BYTES;
    for (let index = 0; index < CHECK_BYTES; index++)
      if (block.checks[at + index] !== check[index]) return false;
    return true;
  }

  /** An address of the newest snapshot shows the page. */
  use(reference: number): void {
    const block = this.#blocks.get(blockOf(reference))!;
    if (block.users++ > 0 || block.lastUse === 0) return;
    this.#unused.get(block.lastUse)?.delete(block);
    block.lastUse = 0;
  }

  /** Of a block that came since the last snapshot, and that the newest one has no page of, nobody needs anything. */
  dismiss(reference: number): void {
    const block = this.#blocks.get(reference)!;
    if (block.users > 0 || block.lastUse > 0) return;
    const unused = this.#unused.get(0) ?? new Set();
    unused.add(block);
    this.#unused.set(0, unused);
  }

  /** An address does not show it any more, from the snapshot after `last` on. */
  release(reference: number, last: number): void {
    const block = this.#blocks.get(blockOf(reference))!;
    if (--block.users > 0) return;
    block.lastUse = last;
    const unused = this.#unused.get(last) ?? new Set();
    unused.add(block);
    this.#unused.set(last, unused);
  }

  /** What dropping a snapshot would give back when all before it are dropped, bytes. */
  bytesOf(snapshot: number): number {
    let bytes = 0;
    for (const block of this.#unused.get(snapshot) ?? []) bytes += block.bytes;
    return bytes;
  }

  /** Forgets what only snapshots before `first` need, and returns it. */
  drop(first: number): Block[] {
    const dropped: Block[] = [];
    for (const [snapshot, blocks] of this.#unused) {
      if (snapshot >= first) continue;
      for (const block of blocks) {
        dropped.push(block);
        this.#forget(block);
      }
      this.#unused.delete(snapshot);
    }
    return dropped;
  }

  #forget(block: Block): void {
    const mask = this.#slots.length - 1;
    for (let index = 0; index * CHECK_BYTES < block.checks.length; index++) {
      let slot = firstWord(block.checks, index * CHECK_BYTES) & mask;
      while (this.#slots[slot] !== FREE && this.#slots[slot] !== block.reference + index)
        slot = (slot + 1) & mask;
      if (this.#slots[slot] !== FREE) this.#slots[slot] = DELETED;
    }
    this.#blocks.delete(block.reference);
    this.#bytes -= block.bytes;
  }
}

/** Check values are as good as random: their first bytes tell where to look. */
function firstWord(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | ((bytes[at + 3]! & 0x7f) << 24);
}
