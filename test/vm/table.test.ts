/** What the check of docs/reference/kernels.md says of kernels that it knows, and of those that are newer. */
import { expect, test } from 'vitest';

interface Measured {
  readonly release: string;
  readonly facts: Readonly<Record<string, string>>;
}
interface Table {
  differences(measured: ReadonlyMap<string, Measured>): { column: string; id: string; text: string }[];
  newColumns(measured: ReadonlyMap<string, Measured>): string[];
}
// By a path that the compiler does not follow: the runner is plain JavaScript.
const path = './table.mjs';
const { differences, newColumns } = (await import(path)) as Table;

const measured = (column: string, facts: Measured['facts']) =>
  new Map([[column, { release: `${column}.0-test`, facts }]]);

test('a column says what was measured, and what was not asked is not compared', () => {
  expect(differences(measured('6.12', { 'pagemap-scan': 'yes' }))).toEqual([]);
  expect(differences(measured('6.12', {}))).toEqual([]);
});

test('a cell that differs is told with both values', () => {
  const [found, ...others] = differences(measured('6.12', { 'pagemap-scan': 'no' }));
  expect(others).toEqual([]);
  expect(found).toMatchObject({ column: '6.12', id: 'pagemap-scan' });
  expect(found!.text).toMatch(/Linux 6\.12 .*PAGEMAP_SCAN: the table says yes, measured: no$/);
});

test('a release without a column is to be as the one before it', () => {
  const alike = measured('99.1', { 'pagemap-scan': 'yes' });
  expect(newColumns(alike)).toEqual(['99.1']);
  expect(differences(alike)).toEqual([]);
  const [found] = differences(measured('99.1', { 'pagemap-scan': 'no' }));
  expect(found!.text).toMatch(/the table says yes of [\d.]+, measured: no$/);
  // There is none of that kind to compare with.
  const other = measured('99.1-riscv64', { 'pagemap-scan': 'no' });
  expect(differences(other)).toEqual([]);
  expect(newColumns(other)).toEqual(['99.1-riscv64']);
});
