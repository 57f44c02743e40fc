/// <reference lib="esnext.disposable" preserve="true" />
/** A dump that stays attached: one state of a process after the other, of which each costs what was written since the last. */
import { type LivePagemap, requireSmallPages } from '../live/internal.js';
import type { WriteProtectTracker } from '../track/internal.js';
import { attach, Dump, type DumpHooks } from './dump.js';
import { FollowingCopy } from './follow.js';
import type { StateOptions, StateResult } from './options.js';
import type { StateSink } from './sink.js';
import { DumpTools } from './tools.js';

/** Options that make no sense for something that stays attached. */
export type FollowOptions = Omit<StateOptions, 'stop' | 'stacks'>;

export class Follower implements Disposable {
  readonly #tracker: WriteProtectTracker;
  readonly #tools: DumpTools;
  readonly #follow: FollowingCopy;
  readonly #dump: Dump;

  private constructor(
    tracker: WriteProtectTracker,
    tools: DumpTools,
    follow: FollowingCopy,
    hooks: DumpHooks,
  ) {
    this.#tracker = tracker;
    this.#tools = tools;
    this.#follow = follow;
    this.#dump = new Dump(tools, follow, hooks, true);
  }

  /**
   * Begins to follow a process. Its states go to a sink, whose `finish` gets each of them.
   *
   * @param makeSink called once the process is attached to
   * @throws what `dumpCore` throws
   */
  static async attach(
    pid: number,
    makeSink: () => StateSink,
    options: FollowOptions = {},
    hooks: DumpHooks = {},
  ): Promise<Follower> {
    const started = performance.now();
    requireSmallPages(`follow process ${pid}`);
    const { tracker, beginning } = await attach(pid, options);
    try {
      const tools = new DumpTools(tracker.pagemap, makeSink(), beginning, options, started);
      return new Follower(tracker, tools, new FollowingCopy(tools, tracker, undefined), hooks);
    } catch (error) {
      tracker[Symbol.dispose]();
      throw error;
    }
  }

  /** The process's pages. It belongs to this. */
  get pagemap(): LivePagemap {
    return this.#tracker.pagemap;
  }

  /** To be called now and then between states, see `WriteProtectTracker.lookForNeighbours`. */
  lookForNeighbours(): void {
    this.#tracker.lookForNeighbours();
  }

  /**
   * Takes a state. After an error, none can be taken any more.
   *
   * @throws what `dumpCore` throws, and what the sink throws
   */
  take(): Promise<StateResult> {
    return this.#dump.run();
  }

  /** Gives the process's memory back piece by piece, before this is disposed: for an end that nobody waits for. */
  release(): void {
    this.#follow.release();
  }

  [Symbol.dispose](): void {
    this.#tools[Symbol.dispose]();
    this.#tracker[Symbol.dispose]();
  }
}
