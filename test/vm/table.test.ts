/** What the check of docs/reference/kernels.md says of kernels that it knows, and of those that are newer; how the page is written. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

interface Measured {
  readonly release: string;
  readonly facts: Readonly<Record<string, string>>;
}
interface Table {
  differences(measured: ReadonlyMap<string, Measured>): { column: string; id: string; text: string }[];
  newColumns(measured: ReadonlyMap<string, Measured>): string[];
  withMeasured(page: string, measured: ReadonlyMap<string, Measured>): string;
}
// By a path that the compiler does not follow: the runner is plain JavaScript.
const path = './table.mjs';
const { differences, newColumns, withMeasured } = (await import(path)) as Table;

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

test('a kernel of another architecture is as x86-64’s where its table has no row', () => {
  const [protects, softDirty] = ['wp-async', 'category-softdirty'];
  expect(differences(measured('6.12-arm64', { [protects]: 'yes', [softDirty]: 'no' }))).toEqual([]);
  expect(differences(measured('6.12-arm64', { [protects]: 'no', [softDirty]: 'yes' }))).toMatchObject([
    { id: protects },
    { id: softDirty },
  ]);
});

test('the page is written anew as it is, and a row that differs comes into the table of others', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/reference/kernels.md'), 'utf8');
  expect(withMeasured(page, new Map())).toBe(page);
  const facts = { 'wp-async': 'no' };
  const others = withMeasured(page, measured('99.1-arm64', facts)).split('## arm64')[1]!;
  expect(page.split('## arm64')[1]).not.toContain('asynchronous write protection (');
  expect(others).toMatch(/^\| Linux .* 99\.1-arm64 \|$/m);
  expect(others).toMatch(/^\| asynchronous write protection \(.* \| no \|$/m);
});
