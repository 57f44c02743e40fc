import { expect, test } from 'vitest';
import { MappingList } from './mapping-list.js';

test('the list is parsed anew only when it has changed', () => {
  const line = (end: string) =>
    new TextEncoder().encode(
      `1000-${end} rw-p 00000000 00:00 0 \nffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n`,
    );
  const list = new MappingList();
  const first = list.take(line('2000'));
  expect(first.map(({ start, end }) => [start, end])).toEqual([[0x1000, 0x2000]]);
  expect(list.take(line('2000'))).toBe(first);
  expect(list.take(line('3000'))[0]!.end).toBe(0x3000);
  expect(list.take(line('2000'))).not.toBe(first);
});
