import { getPriority, setPriority } from 'node:os';
import { expect, test } from 'vitest';
import { atPriority, MODEST, MOST_URGENT } from './priority.js';

/** Whether any priority can be taken back here. */
function mayRaise(): boolean {
  const before = getPriority();
  try {
    setPriority(MOST_URGENT);
    setPriority(before);
    return true;
  } catch {
    return false;
  }
}

test('a priority is taken back, and is not set where it could not be', () => {
  const before = getPriority();
  const may = mayRaise();
  for (const [wanted, expected] of [
    [MODEST, Math.max(before, MODEST)],
    [MOST_URGENT, MOST_URGENT],
  ] as const) {
    const restore = atPriority(wanted);
    expect(getPriority()).toBe(may ? expected : before);
    restore();
    expect(getPriority()).toBe(before);
  }
});

test.each([true, false])(
  'two at a time: the more urgent counts, and neither stays (the first ends first: %s)',
  (inOrder) => {
    const before = getPriority();
    const may = mayRaise();
    const [urgent, modest] = [atPriority(MOST_URGENT), atPriority(MODEST)];
    expect(getPriority()).toBe(may ? MOST_URGENT : before);
    const [first, last] = inOrder ? [urgent, modest] : [modest, urgent];
    first();
    if (may) expect(getPriority()).toBe(inOrder ? Math.max(before, MODEST) : MOST_URGENT);
    last();
    expect(getPriority()).toBe(before);
  },
);
