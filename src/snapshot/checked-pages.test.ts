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
