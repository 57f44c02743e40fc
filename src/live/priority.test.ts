import { getPriority, setPriority } from 'node:os';
import { expect, test } from 'vitest';
import { atPriority, MODEST, MOST_URGENT } from './priority.js';

/** Whether a lower priority can be taken back here. */
function mayRaise(): boolean {
  const before = getPriority();
  try {
    setPriority(before - 1);
    setPriority(before);
    return true;
  } catch {
    return false;
  }
}

test.each([MODEST, MOST_URGENT])(
  'a priority of %i is taken back, and is not set where it could not be',
  (wanted) => {
    const before = getPriority();
    const expected = mayRaise() ? wanted : before;
    const restore = atPriority(wanted);
    expect(getPriority()).toBe(expected);
    restore();
    expect(getPriority()).toBe(before);
  },
);
