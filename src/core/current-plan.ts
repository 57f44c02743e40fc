/** The plan as it is kept up to date while the process runs. */
import type { LivePagemap } from '../live/internal.js';
import type { Mapping } from '../proc/index.js';
import type { Choice } from './choice.js';
import type { MappedFiles } from './mapped-files.js';
import { hasDumpedPages, isPrivateFile, isShared, type Planned, readPlan, updatePlan } from './plan.js';
import { fileId, hasNoDescriptor, mappedByNobodyElse } from './sharers.js';

export class CurrentPlan {
  readonly #pagemap: LivePagemap;
  readonly #files: MappedFiles;
  readonly #choice: Choice;
  readonly #early: boolean;
  #entries: readonly Planned[];
  #exclusive: ReadonlySet<string> = new Set();

  /** @param early memory that others may write to is copied while the process runs, too */
  constructor(
    pagemap: LivePagemap,
    files: MappedFiles,
    entries: readonly Planned[],
    choice: Choice,
    early: boolean,
  ) {
    this.#pagemap = pagemap;
    this.#files = files;
    this.#entries = entries;
    this.#choice = choice;
    this.#early = early;
  }

  get entries(): readonly Planned[] {
    return this.#entries;
  }

  get mappings(): readonly Mapping[] {
    return this.#entries.map(({ mapping }) => mapping);
  }

  /** Shared memory that nobody else can write to, by `fileId`. */
  get exclusive(): ReadonlySet<string> {
    return this.#exclusive;
  }

  /** @param anew asks again about mappings that look the same: others may have come in their place, or madvise(2) changed them */
  refresh(anew = false): void {
    const plan = this.next();
    const isRead = anew || plan.some(({ known }) => !known);
    this.#entries = isRead ? readPlan(this.#pagemap.process, this.#choice) : plan;
    this.findExclusive();
    this.#files.readHeaders(this.#entries);
  }

  /** What the plan is for the mappings as they are now; it is not kept. Takes little time. */
  next(): readonly Planned[] {
    return updatePlan(this.#pagemap.mappings(), this.#entries, this.#choice);
  }

  keep(entries: readonly Planned[]): void {
    this.#entries = entries;
  }

  findExclusive(): void {
    const candidates = this.#entries.filter(({ mapping }) => hasNoDescriptor(mapping));
    const ids = new Set(candidates.map(({ mapping }) => fileId(mapping)));
    this.#exclusive = mappedByNobodyElse(ids, this.#pagemap.pid);
  }

  /** Whether a mapping is copied while the process runs. */
  isEarly(planned: Planned): boolean {
    if (!hasDumpedPages(planned)) return false;
    const { mapping } = planned;
    if (isShared(planned)) {
      if (this.#files.open(mapping) === undefined) return false;
      return this.#early || this.#exclusive.has(fileId(mapping));
    }
    return !isPrivateFile(planned) || this.#files.open(mapping) !== undefined;
  }

  /** Shared memory that is copied at the stop in any case, bytes at most. */
  get lateBytes(): number {
    let bytes = 0;
    for (const planned of this.#entries) {
      const { mapping } = planned;
      if (hasDumpedPages(planned) && isShared(planned) && !this.isEarly(planned))
        bytes += mapping.end - mapping.start;
    }
    return bytes;
  }
}
