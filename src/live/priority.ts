/** How urgent our own thread is, beside those of the process. */
import { getPriority, setPriority } from 'node:os';

/** The process stands still and waits for us. */
export const MOST_URGENT = -20;
/** Nobody waits for us. */
export const MODEST = 10;

/**
 * Sets the priority of this thread, as `nice` counts it, where that can be taken back. One that is lower already stays.
 *
 * @returns takes it back
 */
export function atPriority(priority: number): () => void {
  const before = getPriority();
  if (priority > 0 && before >= priority) return () => undefined;
  try {
    // It takes CAP_SYS_NICE. Without that, a lower one would stay for ever.
    setPriority(MOST_URGENT);
    setPriority(priority);
    return () => setPriority(before);
  } catch {
    return () => undefined;
  }
}
