/** How urgent our own thread is, beside those of the process. */
import { getPriority, setPriority } from 'node:os';

/** The process stands still and waits for us. */
export const MOST_URGENT = -20;
/** Nobody waits for us. */
export const MODEST = 10;

/** The priority of this thread when nobody asks for another, and what is asked for now. */
let usual = 0;
const asked: { readonly priority: number }[] = [];

function apply(): void {
  setPriority(asked.length === 0 ? usual : Math.min(...asked.map(({ priority }) => priority)));
}

/**
 * Sets the priority of this thread, as `nice` counts it, where that can be taken back. One that is lower already stays. Of several that are
 * asked for at a time, the most urgent counts.
 *
 * @returns takes it back
 */
export function atPriority(priority: number): () => void {
  if (asked.length === 0) usual = getPriority();
  if (priority > 0 && usual >= priority) return () => undefined;
  try {
    // It takes CAP_SYS_NICE. Without that, a lower one would stay for ever.
    setPriority(MOST_URGENT);
  } catch {
    return () => undefined;
  }
  const own = { priority };
  asked.push(own);
  apply();
  return () => {
    asked.splice(asked.indexOf(own), 1);
    apply();
  };
}
