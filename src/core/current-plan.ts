/** The plan as it is kept up to date while the process runs. */
import type { LivePagemap } from '../live/internal.js';
import type { Mapping } from '../proc/index.js';
import type { Choice } from './choice.js';
import type { MappedFiles } from './mapped-files.js';
import { hasDumpedPages, isPrivateFile, isShared, type Planned, readPlan, updatePlan } from './plan.js';
import { findViews } from './views.js';

export class CurrentPlan {
  readonly #pagemap: LivePagemap;
  readonly #files: MappedFiles;
  readonly #choice: Choice;
  readonly #early: boolean;
  readonly #keepsViewsOnce: boolean;
  #entries: readonly Planned[];

  /**
   * @param early memory that others may write to is copied while the process runs, too
   * @param keepsViewsOnce memory that is mapped several times is copied once
   */
  constructor(
    pagemap: LivePagemap,
    files: MappedFiles,
    entries: readonly Planned[],
    choice: Choice,
    early: boolean,
    keepsViewsOnce: boolean,
  ) {
    this.#pagemap = pagemap;
    this.#files = files;
    this.#entries = entries;
    this.#choice = choice;
    this.#early = early;
    this.#keepsViewsOnce = keepsViewsOnce;
  }

  get entries(): readonly Planned[] {
    return this.#entries;
  }

  get mappings(): readonly Mapping[] {
    return this.#entries.map(({ mapping }) => mapping);
  }

  /** @param anew asks again about mappings that look the same: others may have come in their place, or madvise(2) changed them */
  refresh(anew = false): void {
    const plan = this.next();
    const isRead = anew || plan.some(({ known }) => !known);
    this.#entries = isRead ? readPlan(this.#pagemap.process, this.#choice) : plan;
    this.#files.readHeaders(this.#entries);
  }

  /** What the plan is for the mappings as they are now; it is not kept. Takes little time. */
  next(): readonly Planned[] {
    return updatePlan(this.#pagemap.mappings(), this.#entries, this.#choice);
  }

  keep(entries: readonly Planned[]): void {
    this.#entries = entries;
  }

  /** Whether a mapping is copied while the process runs. */
  isEarly(planned: Planned): boolean {
    if (!hasDumpedPages(planned)) return false;
    const { mapping } = planned;
    if (isShared(planned)) return this.#early && this.#files.open(mapping) !== undefined;
    return !isPrivateFile(planned) || this.#files.open(mapping) !== undefined;
  }

  #isLate(planned: Planned): boolean {
    return hasDumpedPages(planned) && isShared(planned) && !this.isEarly(planned);
  }

  /** The mappings that need not be copied, since another one has their memory, too. See `findViews`. */
  views(entries: readonly Planned[]): ReadonlyMap<number, Planned> {
    if (!this.#keepsViewsOnce) return new Map();
    return findViews(
      entries,
      (planned) => this.#isLate(planned) && this.#files.open(planned.mapping) !== undefined,
    );
  }

  /** Shared memory that is copied at the stop in any case, bytes at most. */
  get lateBytes(): number {
    const views = this.views(this.#entries);
    let bytes = 0;
    for (const planned of this.#entries) {
      const { mapping } = planned;
      if (this.#isLate(planned) && !views.has(mapping.start)) bytes += mapping.end - mapping.start;
    }
    return bytes;
  }
}
