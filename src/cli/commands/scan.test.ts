import { expect, test } from 'vitest';
import { ALL_CATEGORIES, PAGE_IS_PRESENT, PAGE_IS_WPALLOWED, PAGE_IS_WRITTEN } from '../../abi/index.js';
import { isWrittenUntracked } from './scan.js';

test.each([
  ['written, and nobody tracks it', PAGE_IS_WRITTEN | PAGE_IS_PRESENT, ALL_CATEGORIES, true],
  ['written, and some of it is tracked', PAGE_IS_WRITTEN | PAGE_IS_WPALLOWED, ALL_CATEGORIES, false],
  ['not written', PAGE_IS_PRESENT, ALL_CATEGORIES, false],
  ['nothing', 0, ALL_CATEGORIES, false],
  ['written, and nobody asked whether it is tracked', PAGE_IS_WRITTEN, PAGE_IS_WRITTEN, false],
])('%s', (_, found, returnMask, expected) => {
  expect(isWrittenUntracked(found, returnMask)).toBe(expected);
});
