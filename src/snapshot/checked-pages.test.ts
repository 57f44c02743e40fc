import { expect, test } from 'vitest';
import { BLOCK_PAGES, referenceOf } from './block.js';
import { CheckedPages } from './checked-pages.js';

test('pages are remembered each by itself, the last one of a block and the last file, too', () => {
  const checked = new CheckedPages();
  const places = [1, 2, 2 ** 20].flatMap((file) => [64, 128, 2 ** 26 - 64].map((offset) => [file, offset]));
  const references = places.flatMap(([file, offset]) =>
    Array.from({ length: BLOCK_PAGES }, (_, index) => referenceOf(file!, offset!) + index),
  );
  const isRight = (number: number) => number % 3 > 0;
  references.forEach((reference, number) => {
    expect(checked.get(reference)).toBeUndefined();
    checked.set(reference, isRight(number));
    expect(checked.get(reference)).toBe(isRight(number));
  });
  expect(references.map((reference) => checked.get(reference))).toEqual(
    references.map((_, at) => isRight(at)),
  );
  expect(checked.count).toBe(references.length);
});

test('more pages are remembered than a Map has room for', () => {
  const checked = new CheckedPages();
  const most = 2 ** 24;
  const perFile = 2 ** 14;
  const referenceOfNumber = (number: number) => {
    const block = Math.floor(number / BLOCK_PAGES);
    return (
      referenceOf(1 + Math.floor(block / perFile), (1 + (block % perFile)) * 64) + (number % BLOCK_PAGES)
    );
  };
  for (let number = 0; number <= most; number++) checked.set(referenceOfNumber(number), number !== most);
  expect(checked.count).toBe(most + 1);
  expect([0, most - 1, most, most + 1].map((number) => checked.get(referenceOfNumber(number)))).toEqual([
    true,
    true,
    false,
    undefined,
  ]);
});
