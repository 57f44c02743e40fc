import { mman, type Pagemap, type RegionBuffer, uffd } from '../abi/index.js';
import type {
  AdviceName,
  Answer,
  FeatureName,
  Op,
  Protection,
  RegisterMode,
  ScanOp,
  Scenario,
  U64,
} from './format.js';

/** Runs scenarios: the simulator or a kernel. */
export interface ScenarioBackend {
  readonly name: string;
  /** Runs the scenario in a new process. Gives one answer for each step, or fewer when the process was lost. */
  run(scenario: Scenario): Promise<Answer[]> | Answer[];
  /** The page-table entries around a step, as lines to print, where the backend can look at them. */
  describe?(scenario: Scenario, step: number): string[];
}

/** madvise's numbers by the names of scenario files. */
export const ADVICE: Readonly<Record<AdviceName, number>> = {
  dontneed: mman.MADV_DONTNEED,
  hugepage: mman.MADV_HUGEPAGE,
  nohugepage: mman.MADV_NOHUGEPAGE,
  populate_read: mman.MADV_POPULATE_READ,
  populate_write: mman.MADV_POPULATE_WRITE,
  collapse: mman.MADV_COLLAPSE,
  guard_install: mman.MADV_GUARD_INSTALL,
  guard_remove: mman.MADV_GUARD_REMOVE,
  free: mman.MADV_FREE,
  pageout: mman.MADV_PAGEOUT,
  remove: mman.MADV_REMOVE,
  cold: mman.MADV_COLD,
};

const FEATURES: Readonly<Record<FeatureName, number>> = {
  wp_async: uffd.UFFD_FEATURE_WP_ASYNC,
  wp_unpopulated: uffd.UFFD_FEATURE_WP_UNPOPULATED,
  wp_hugetlbfs_shmem: uffd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
  rwp: uffd.UFFD_FEATURE_RWP,
  rwp_async: uffd.UFFD_FEATURE_RWP_ASYNC,
};

const MODES: Readonly<Record<RegisterMode, number>> = {
  wp: uffd.UFFDIO_REGISTER_MODE_WP,
  rwp: uffd.UFFDIO_REGISTER_MODE_RWP,
};

/** userfaultfd's features by the names of scenario files. */
export function featureBits(names: readonly FeatureName[]): number {
  return names.reduce((bits, name) => bits | FEATURES[name], 0);
}

/** UFFDIO_REGISTER's modes by the names of scenario files. */
export function modeBits(names: readonly RegisterMode[]): number {
  return names.reduce((bits, name) => bits | MODES[name], 0);
}

/** mmap's bits by the names of scenario files. */
export function protectionBits(prot: Protection): number {
  if (prot === 'none') return mman.PROT_NONE;
  return (
    (prot.includes('r') ? mman.PROT_READ : 0) |
    (prot.includes('w') ? mman.PROT_WRITE : 0) |
    (prot.includes('x') ? mman.PROT_EXEC : 0)
  );
}

/** A u64 as the scan interface takes it: exact, so a bigint where a double is not. */
export function u64(value: U64): number | bigint {
  if (typeof value === 'number') return value;
  const exact = BigInt(value);
  return exact <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(exact) : exact;
}

/** An address as scenario files write it. */
export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

/**
 * The errno as in recordings. A pageout directly after a write to the same pages was recorded as one action with the
 * write. Where it failed because of a gap in the range, the recorded errno is older than the call: that of the
 * process's last failure, E0 when there was none.
 */
export class RecordedErrno {
  #last = 'E0';
  #written: { readonly at: number; readonly pages: number } | undefined;

  /** Takes note of an operation and what it gave. Returns the answer as a recording has it. */
  record(op: Op, answer: Answer): Answer {
    const before = this.#last;
    const written = this.#written;
    this.#written = op.op === 'write' ? op : undefined;
    if (answer.errno === undefined) return answer;
    this.#last = answer.errno;
    const joined =
      op.op === 'madvise' && op.advice === 'pageout' && written?.at === op.at && written.pages === op.pages;
    return joined && answer.errno === 'ENOMEM' ? { errno: before } : answer;
  }
}

/** What a scan found, as a recorder writes it down. Without `output` the kernel is given no vector. */
export function scanAnswer(pagemap: Pagemap, op: ScanOp, output: RegionBuffer | null): Answer {
  const { regions, walkEnd } = pagemap.scan(
    {
      start: u64(op.start),
      end: u64(op.end),
      flags: u64(op.flags),
      maxPages: u64(op.max_pages),
      categoryInverted: u64(op.inverted),
      categoryMask: u64(op.mask),
      categoryAnyofMask: u64(op.anyof),
      returnMask: u64(op.return),
      override: { size: u64(op.size), vecLen: u64(op.vec_len) },
    },
    output,
  );
  const answer = { ret: regions, walk_end: hex(walkEnd) };
  if (regions === 0 || output === null) return answer;
  const list = Array.from({ length: regions }, (_, index): [string, string, number] => [
    hex(output.start(index)),
    hex(output.end(index)),
    output.categories(index),
  ]);
  return { ...answer, regions: list };
}
