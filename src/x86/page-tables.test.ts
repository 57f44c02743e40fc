import { describe, expect, test } from 'vitest';
import { PageTables } from './index.js';

describe('page tables', () => {
  test('tables come into being level by level', () => {
    const tables = new PageTables();
    expect(tables.findPmd(0x300000)).toBe(-1);
    const table = tables.ensurePte(0x300000);
    expect(tables.findPte(0x300000)).toBe(table);
    // The root, a PUD, a PMD and a last-level table.
    expect(tables.tableCount).toBe(4);
    tables.ensurePte(0x300001);
    expect(tables.tableCount).toBe(5);
    expect(tables.findPmd(0x300001)).toBe(tables.findPmd(0x300000) + 2);
  });

  test('more than entries can number are refused, and what there is stays', () => {
    const tables = new PageTables(5);
    const first = tables.ensurePte(7);
    tables.ensurePte(8);
    expect(() => tables.ensurePte(9)).toThrow('Cannot add a page table: there are 5');
    expect([tables.findPte(7), tables.findPte(9), tables.tableCount]).toEqual([first, -1, 5]);
  });

  test('removal keeps what others need', () => {
    const tables = new PageTables();
    for (const block of [511, 512, 513]) tables.ensurePte(block);
    tables.removeTables(512, 513, 512, 513);
    expect(tables.findPte(512)).toBe(-1);
    expect(tables.findPte(511)).not.toBe(-1);
    expect(tables.findPte(513)).not.toBe(-1);
    tables.removeTables(511, 514, 0, 2 ** 26);
    expect(tables.tableCount).toBe(1);
    expect(tables.words.every((word) => word === 0)).toBe(true);
  });

  test('freed tables are used again', () => {
    const tables = new PageTables();
    const before = tables.byteLength;
    for (let round = 0; round < 100; round++) {
      tables.ensurePte(round * 1000);
      tables.removeTables(round * 1000, round * 1000 + 1, 0, 2 ** 26);
    }
    expect(tables.byteLength).toBe(before);
  });

  test('the far ends of the address space are reached', () => {
    const tables = new PageTables();
    const last = 0x7ffffffff000 / 2 ** 21;
    tables.ensurePte(0);
    tables.ensurePte(Math.floor(last));
    expect(tables.findPte(Math.floor(last))).not.toBe(-1);
    tables.removeTables(0, 2 ** 26, 0, 2 ** 26);
    expect(tables.tableCount).toBe(1);
  });

  test('a stripe is marked for every entry that may hold something', () => {
    const tables = new PageTables();
    tables.ensurePmd(1023);
    expect(tables.stripesAt(tables.findPmd(1023))).toBe(0x80000000);
    tables.ensurePmd(512);
    expect(tables.stripesAt(tables.findPmd(512))).toBe(0x80000001);
  });
});
