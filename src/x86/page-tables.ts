import { MARKER_HIGH, MARKER_UFFD_WP_LOW, P as PRESENT, PROTNONE, PS, RW, US } from './entry.js';

/** Entries of a table, and so the pages of one last-level table. */
export const ENTRIES = 512;
/** 32-bit words of a table. */
const TABLE_WORDS = ENTRIES * 2;
/** As many as a low word can number: 4 GiB of them, for 2 TiB of memory in small pages. */
const MOST_TABLES = 2 ** 20;
/** Flags of an entry that points to a table: present, writable, user, accessed, dirty. */
const TABLE_FLAGS = PRESENT | RW | US | 0x60;

/**
 * Four-level page tables of one address space, in one growing `Uint32Array`.
 *
 *     address  47    39 38    30 29    21 20    12 11    0
 *             +--------+--------+--------+--------+-------+
 *             | PGD    | PUD    | PMD    | PTE    | byte  |     nine bits select an entry of each table
 *             +--------+--------+--------+--------+-------+
 *
 * Table number `t` lies in words [t * 1024, t * 1024 + 1024) and its number is its frame number; table 0 is the
 * root. An entry is two words, `slot` and `slot + 1`. Positions are given as `block`, the number of the 2 MiB
 * block (address / 2^21, which fits 26 bits), and as an index of a page within it.
 */
export class PageTables {
  /** The tables. Replaced when it grows: do not keep it across a call that may add a table. */
  words: Uint32Array;
  /**
   * By table, which stretches of 16 entries of a PMD table may hold something: a bit is set when one of its entries is
   * asked for, and cleared with the table. Walks of sparse mappings skip by it.
   */
  stripes: Uint32Array;
  #tables = 1;
  #free: number[] = [];
  /** Bumped whenever a table is added or removed. */
  generation = 0;

  readonly #mostTables: number;

  constructor(mostTables = MOST_TABLES) {
    this.#mostTables = mostTables;
    // One mapping takes four.
    this.words = new Uint32Array(TABLE_WORDS * 5);
    this.stripes = new Uint32Array(5);
  }

  /** The `stripes` of the PMD table that a PMD slot lies in. */
  stripesAt(pmd: number): number {
    return this.stripes[Math.floor(pmd / TABLE_WORDS)]!;
  }

  /** Bytes of memory that the tables take, room for growth included. */
  get byteLength(): number {
    return this.words.byteLength;
  }

  /** Tables in use, the root included. */
  get tableCount(): number {
    return this.#tables - this.#free.length;
  }

  #add(): number {
    this.generation++;
    const reused = this.#free.pop();
    if (reused !== undefined) return reused;
    if (this.#tables === this.#mostTables) {
      throw new RangeError(
        `Cannot add a page table: there are ${this.#mostTables}, the most that are simulated`,
      );
    }
    const table = this.#tables++;
    if (this.#tables * TABLE_WORDS > this.words.length) {
      // A quarter more keeps the room for growth small beside 20 bytes a page and copies O(1) words a page.
      const tables = Math.max(this.#tables, Math.ceil(this.#tables * 1.25));
      const grown = new Uint32Array(tables * TABLE_WORDS);
      grown.set(this.words);
      this.words = grown;
      const stripes = new Uint32Array(tables);
      stripes.set(this.stripes);
      this.stripes = stripes;
    }
    return table;
  }

  #remove(table: number): void {
    this.generation++;
    this.words.fill(0, table * TABLE_WORDS, (table + 1) * TABLE_WORDS);
    this.stripes[table] = 0;
    this.#free.push(table);
  }

  #next(slot: number): number {
    const low = this.words[slot]!;
    if (low !== 0) return low >>> 12;
    const table = this.#add();
    this.words[slot] = ((table << 12) | TABLE_FLAGS) >>> 0;
    return table;
  }

  /** The slot of the block's PUD entry, or -1 where no PUD table covers it. */
  findPud(block: number): number {
    const low = this.words[(block >> 18) * 2]!;
    return low === 0 ? -1 : (low >>> 12) * TABLE_WORDS + ((block >> 9) & 511) * 2;
  }

  /** The slot of the block's PMD entry, or -1 where no PMD table covers it. */
  findPmd(block: number): number {
    const pud = this.findPud(block);
    if (pud < 0) return -1;
    const low = this.words[pud]!;
    return low === 0 ? -1 : (low >>> 12) * TABLE_WORDS + (block & 511) * 2;
  }

  /** As `findPmd`, adding the tables that are missing. */
  ensurePmd(block: number): number {
    const pud = this.#next((block >> 18) * 2) * TABLE_WORDS + ((block >> 9) & 511) * 2;
    const table = this.#next(pud);
    this.stripes[table] = this.stripes[table]! | (1 << ((block & 511) >> 4));
    return table * TABLE_WORDS + (block & 511) * 2;
  }

  /** The slot of the first entry of the last-level table that a PMD slot points to, or -1: empty or huge. */
  pteTable(pmd: number): number {
    const low = this.words[pmd]!;
    return (low & (PRESENT | PS)) === PRESENT ? (low >>> 12) * TABLE_WORDS : -1;
  }

  /** The slot of the first entry of the block's last-level table, or -1. */
  findPte(block: number): number {
    const pmd = this.findPmd(block);
    return pmd < 0 ? -1 : this.pteTable(pmd);
  }

  /** As `findPte`, adding the tables that are missing. The block must not be mapped by a huge entry. */
  ensurePte(block: number): number {
    return this.#next(this.ensurePmd(block)) * TABLE_WORDS;
  }

  /** Takes the last-level table of a PMD slot away. Its entries must have been dealt with. */
  removePte(pmd: number): void {
    this.#remove(this.words[pmd]! >>> 12);
    this.words[pmd] = 0;
    this.words[pmd + 1] = 0;
  }

  /** Moves a PMD entry, and the table below it, to another block. */
  moveBlock(from: number, to: number): void {
    const target = this.ensurePmd(to);
    const source = this.findPmd(from);
    const { words } = this;
    words[target] = words[source]!;
    words[target + 1] = words[source + 1]!;
    words[source] = 0;
    words[source + 1] = 0;
  }

  /**
   * Removes the tables that cover any of the blocks [first, end) and none outside of [floor, ceiling). What the
   * last-level tables hold is dropped.
   */
  removeTables(first: number, end: number, floor: number, ceiling: number): void {
    for (let block = Math.max(first, floor); block < Math.min(end, ceiling); ) {
      const pud = this.findPud(block);
      if (pud < 0) block = (Math.floor(block / 0x40000) + 1) * 0x40000;
      else if (this.words[pud] === 0) block = ((block >> 9) + 1) * ENTRIES;
      else {
        const pmd = this.findPmd(block++);
        if (this.pteTable(pmd) >= 0) this.removePte(pmd);
      }
    }
    for (let base = first & ~511; base < end; base += ENTRIES) {
      const pud = this.findPud(base);
      if (pud < 0) base = (Math.floor(base / 0x40000) + 1) * 0x40000 - ENTRIES;
      else if (base >= floor && base + ENTRIES <= ceiling) this.#unlink(pud);
    }
    for (let base = first & ~0x3ffff; base < end; base += 0x40000) {
      if (base >= floor && base + 0x40000 <= ceiling) this.#unlink((base >> 18) * 2);
    }
  }

  #unlink(slot: number): void {
    const low = this.words[slot]!;
    if (low === 0) return;
    this.#remove(low >>> 12);
    this.words[slot] = 0;
    this.words[slot + 1] = 0;
  }
}

/** Whether the PMD entry's low word maps 2 MiB by itself (PROT_NONE included). */
export function isHugeEntry(low: number): boolean {
  return (low & PS) !== 0 && (low & (PRESENT | PROTNONE)) !== 0;
}

/** Places userfaultfd markers on the empty ones of `count` entries from `slot` on. */
export function placeMarkers(words: Uint32Array, slot: number, count: number): void {
  for (const end = slot + count * 2; slot < end; slot += 2) {
    if (words[slot] === 0 && words[slot + 1] === 0) {
      words[slot] = MARKER_UFFD_WP_LOW;
      words[slot + 1] = MARKER_HIGH;
    }
  }
}
