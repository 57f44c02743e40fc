/// <reference lib="esnext.disposable" preserve="true" />
/** What all parts of one dump work with. */
import { type LivePagemap, ProcessMemory, ProcessStopper } from '../live/internal.js';
import type { CoreArchitecture } from './architecture.js';
import type { Choice } from './choice.js';
import { Copier } from './copier.js';
import { CopyRecord } from './copy-record.js';
import { CurrentPlan } from './current-plan.js';
import { MappedFiles } from './mapped-files.js';
import type { StateOptions } from './options.js';
import type { Planned } from './plan.js';
import { Presence } from './presence.js';
import { Progress } from './progress.js';
import { Settling } from './settle.js';
import type { StateSink } from './sink.js';
import { coreArchitecture, type ProcessFacts, takeFacts } from './threads.js';

/** What is found out before anything else. */
export interface Beginning {
  readonly facts: ProcessFacts;
  readonly choice: Choice;
  readonly plan: readonly Planned[];
}

export class DumpTools implements Disposable {
  readonly pid: number;
  readonly options: StateOptions;
  readonly arch: CoreArchitecture = coreArchitecture()!;
  readonly pagemap: LivePagemap;
  readonly sink: StateSink;
  #facts: ProcessFacts;
  readonly progress: Progress;
  readonly record = new CopyRecord();
  readonly memory: ProcessMemory;
  readonly files: MappedFiles;
  readonly plan: CurrentPlan;
  readonly presence: Presence;
  readonly stopper: ProcessStopper;
  readonly settling: Settling;
  readonly copier: Copier;

  /** @param started when the dump began, as of `performance.now()` */
  constructor(
    pagemap: LivePagemap,
    sink: StateSink,
    { facts, choice, plan }: Beginning,
    options: StateOptions,
    started: number,
  ) {
    const check = () => options.signal?.throwIfAborted();
    this.pid = pagemap.pid;
    this.options = options;
    this.pagemap = pagemap;
    this.sink = sink;
    this.#facts = facts;
    this.progress = new Progress(options.onProgress, started);
    this.presence = new Presence(pagemap);
    this.stopper = new ProcessStopper(pagemap.process);
    this.settling = new Settling(pagemap.process, this.stopper, options.maxPauseMs, check);
    this.memory = new ProcessMemory(pagemap.process);
    this.files = new MappedFiles(pagemap.process, this.memory);
    const isEarly = options.shared === 'running';
    const keepsViewsOnce = sink.keepsViewsOnce === true;
    this.plan = new CurrentPlan(pagemap, this.files, plan, choice, isEarly, keepsViewsOnce);
    this.copier = new Copier(this.memory, sink, {
      progress: (bytes) => this.progress.add(bytes),
      check,
      unreadable: (page) => {
        // Or is it gone? Then nothing can be read any more.
        if (this.record.fail(page) % 256 === 0) pagemap.checkAlive();
      },
    });
  }

  get facts(): ProcessFacts {
    return this.#facts;
  }

  /** Begins the next dump of the same process. */
  renew(): void {
    this.#facts = takeFacts(this.pagemap.process);
    this.files.keepOnly(this.plan.mappings);
    this.progress.restart();
    this.settling.stopMs = 0;
  }

  [Symbol.dispose](): void {
    this.files[Symbol.dispose]();
    this.memory[Symbol.dispose]();
  }
}
