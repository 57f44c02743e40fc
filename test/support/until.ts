import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Waits for what something else brings about, asking again and again; gives the first answer that is neither undefined nor false. What
 * never comes fails here, before the test's own time is over, so that the test ends what it has started.
 */
export async function until<Value>(
  what: string,
  ask: () => Value | undefined | false | Promise<Value | undefined | false>,
  { timeoutMs = 45_000, everyMs = 5 }: { timeoutMs?: number; everyMs?: number } = {},
): Promise<Value> {
  for (const began = performance.now(); performance.now() - began < timeoutMs; await sleep(everyMs)) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
  }
  throw new Error(`Did not come within ${timeoutMs / 1000} s: ${what}`);
}
