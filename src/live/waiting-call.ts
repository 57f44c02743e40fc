/** The call that a thread sleeps in before it is stopped, for architectures that do not show it afterwards. */
import { readFileSync } from 'node:fs';
import type { SleepingTask } from '../proc/internal.js';
import { type NotedCall, parseCall } from './calls.js';

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

/** How often a thread has gone to sleep, to be stopped included; undefined when the thread is gone. */
function sleepsOf(folder: string): number | undefined {
  const count = /^voluntary_ctxt_switches:\s+(\d+)/m.exec(read(`${folder}/status`) ?? '')?.[1];
  return count === undefined ? undefined : Number(count);
}

/** A thread's call as it was noted, and whether that is still it once the thread has been stopped. */
export class WaitingCall implements NotedCall {
  readonly #folder: string;
  readonly #sleeps: number | undefined;
  readonly #call: SleepingTask | undefined;
  /** It slept when it was noted, in a call or outside of one. */
  readonly isAsleep: boolean;

  /** @param folder that of the thread in /proc */
  constructor(folder: string) {
    this.#folder = folder;
    // First: where it sleeps again after it, that is counted.
    this.#sleeps = sleepsOf(folder);
    const text = read(`${folder}/syscall`) ?? '';
    this.isAsleep = !text.startsWith('running');
    this.#call = parseCall(text);
  }

  get confirmed(): SleepingTask | undefined {
    if (this.#call === undefined) return undefined;
    const sleeps = sleepsOf(this.#folder);
    if (sleeps === undefined || this.#sleeps === undefined) return undefined;
    // Once since then: it was woken, and stopped.
    return sleeps <= this.#sleeps + 1 ? this.#call : undefined;
  }
}
