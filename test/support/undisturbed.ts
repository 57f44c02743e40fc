import { isDeepStrictEqual } from 'node:util';

/**
 * What something says between two equal answers of a reference, and that answer. The kernel moves and reclaims pages of processes that
 * stand still, too, and threads of V8 bring in pages of code: what is said while the reference changes cannot be compared with it.
 */
export async function undisturbed<Reference, Answer>(
  what: string,
  reference: () => Reference | Promise<Reference>,
  ask: () => Answer | Promise<Answer>,
  areEqual: (one: Reference, other: Reference) => boolean = isDeepStrictEqual,
): Promise<{ answer: Answer; expected: Reference }> {
  let before = await reference();
  for (let attempt = 0; attempt < 20; attempt++) {
    const answer = await ask();
    const expected = await reference();
    if (areEqual(before, expected)) return { answer, expected };
    before = expected;
  }
  throw new Error(`${what} never stood still`);
}
