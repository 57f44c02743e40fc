import { CATEGORIES } from '../../dist/abi/index.js';
import { KERNEL_FACTS } from '../../dist/scenario/index.js';

// What runs where: machines, each a kernel with its jobs. A machine for each thing that can hang one.
const MINUTE = 60_000;

const testJob = (file) => ({
  name: file,
  argv: ['node', 'run-tests.mjs', file.replace(/\.ts$/, '.js')],
  timeoutMs: 10 * MINUTE,
  // Here every test is one that the kernel can run: that it cannot is an error (test/support/needs.ts).
  env: { CI: '1', PMSCAN_ROUNDS: '10' },
});
/** Tests of core files: those that take a debugger are skipped, since a guest has none. */
const coreJob = (name) => ({ ...testJob(`test/e2e/${name}.test.ts`), env: {} });
const features = { name: 'features', argv: ['node', 'test/vm/features.js'], timeoutMs: 15 * MINUTE };

/** `fact`: the row of the table that the outcome belongs to. `mayHang`: it tells something if it does. */
const danger = (what, options) => ({
  name: `dangers ${what}`,
  argv: ['node', 'test/vm/dangers.js', what],
  // Forty times what it takes where it does not hang: a machine may have much else to do.
  timeoutMs: 2 * MINUTE,
  ...options,
});

/**
 * Recorded scenarios, one of three: that they were recorded so is known, and that the simulator answers so is tested without a kernel.
 * `npm run test:vm -- --kernel 7.3 test/vm/traces.ts` takes all, which costs six minutes of a processor.
 */
const traces = { ...testJob('test/vm/traces.ts'), env: { CI: '1', PMSCAN_EVERY: '3' } };

/** Scenarios on which the two ways of tracking have to agree, in parts; `node test/support/written.mjs` says what of. */
const written = (first, count) => ({
  name: `written ${first} to ${first + count - 1}`,
  argv: ['node', 'test/support/written.mjs', String(first), String(count), '6.12'],
  timeoutMs: 15 * MINUTE,
});

/** The simulator, as the kernel is measured to be, against the kernel; `count` scenarios of each kind. */
const generated = (count) => ({
  name: `generated scenarios, ${count} of each kind`,
  argv: ['node', 'scripts/fuzz.mjs', '--count', String(count), '--minutes', '10'],
  timeoutMs: 15 * MINUTE,
});

/**
 * The heaviest first. What kernels share is run on one of them. Those that are on demand run when their kernel is named (`--kernel`): they
 * show what is seldom changed, and an emulated arm64 takes its time.
 */
export const MACHINES = [
  { kernel: 'newest', jobs: [traces, generated(5)] },
  { kernel: '6.12', jobs: [traces, written(1, 50)] },
  {
    kernel: 'newest',
    jobs: [
      features,
      ...[
        'test/conformance/live.test.ts',
        'test/track/own.test.ts',
        'test/track/exact.test.ts',
        'test/track/accesses.test.ts',
        'test/track/accesses-missed.test.ts',
        'test/track/noticed.test.ts',
        'test/e2e/watch-accesses.test.ts',
        'test/e2e/record-accesses.test.ts',
        'test/web/accesses.test.ts',
        'test/e2e/wss.test.ts',
        'test/track/protected-scan.test.ts',
      ].map(testJob),
    ],
  },
  {
    kernel: '6.1',
    jobs: [
      features,
      ...['test/conformance/fallback.test.ts', 'test/track/soft-dirty.test.ts', 'test/vm/commands.ts'].map(
        testJob,
      ),
    ],
  },
  {
    kernel: '6.12-arm64',
    jobs: [
      ...[
        'test/conformance/live.test.ts',
        'test/conformance/fallback.test.ts',
        'test/track/own.test.ts',
        'test/track/exact.test.ts',
        'test/track/protected-scan.test.ts',
        'test/vm/core-notes.ts',
        'test/vm/page-size.ts',
        'test/vm/services.ts',
      ].map(testJob),
      traces,
    ],
  },
  {
    kernel: '6.12-arm64',
    onDemand: true,
    jobs: [
      features,
      testJob('test/web/server.test.ts'),
      ...['core-choice', 'core-sparse', 'core-views', 'core-when'].map(coreJob),
    ],
  },
  {
    kernel: '6.12-arm64-16k',
    onDemand: true,
    jobs: [
      features,
      ...[
        'test/vm/page-size.ts',
        'test/conformance/live.test.ts',
        'test/track/own.test.ts',
        'test/track/exact.test.ts',
        'test/track/protected-scan.test.ts',
        'test/live/owners.test.ts',
      ].map(testJob),
    ],
  },
  {
    kernel: '7.3-arm64',
    onDemand: true,
    jobs: [
      features,
      ...[
        'test/conformance/live.test.ts',
        'test/track/own.test.ts',
        'test/track/accesses.test.ts',
        'test/track/accesses-missed.test.ts',
        'test/e2e/watch-accesses.test.ts',
        'test/e2e/record-accesses.test.ts',
        'test/e2e/wss.test.ts',
        'test/vm/core-notes.ts',
      ].map(testJob),
    ],
  },
  // Yama's last setting stays until the next boot.
  { kernel: '6.12', jobs: ['test/e2e/contained.test.ts', 'test/vm/yama.ts'].map(testJob) },
  {
    kernel: '6.12.43',
    jobs: [
      features,
      ...['test/conformance/live.test.ts', 'test/track/own.test.ts', 'test/track/exact.test.ts'].map(testJob),
    ],
  },
  { kernel: 'newest', jobs: ['test/conformance/fallback.test.ts', 'test/vm/commands.ts'].map(testJob) },
  { kernel: '7.2', jobs: [features, generated(3)] },
  {
    kernel: '6.12',
    jobs: [features, ...['test/conformance/live.test.ts', 'test/vm/soft-dirty.ts'].map(testJob)],
  },
  // Here the first danger is none any more, so that the second may follow it.
  ...['6.12', 'newest'].map((kernel) => ({
    kernel,
    jobs: [
      danger('hole-library'),
      danger('guard-library'),
      danger('hole-any', { fact: 'hugetlb-hole-hangs', mayHang: true }),
      danger('guard', { fact: 'guard-hangs', mayHang: true }),
    ],
  })),
  { kernel: '6.12.43', jobs: [danger('hole-any', { fact: 'hugetlb-hole-hangs', mayHang: true })] },
  {
    kernel: '6.12.43',
    jobs: [
      danger('hole-library'),
      danger('guard-library'),
      danger('guard', { fact: 'guard-hangs', mayHang: true }),
    ],
  },
];

/** Only what fills the table. */
export const FACTS = MACHINES.map(({ kernel, onDemand, jobs }) => ({
  kernel,
  onDemand,
  jobs: jobs.filter((job) => job === features || job.fact !== undefined),
})).filter(({ jobs }) => jobs.length > 0);

/** The row that says which named profile a kernel answers as. */
export const PROFILE_ROW = 'profile';

/** What is true where the cell says yes; a fact of several values has the sentence in the cell. */
const factTitle = ({ values, says }) => (typeof values[0] === 'boolean' ? says(true) : 'categories');

/** The rows of docs/reference/kernels.md: facts by their ids, in groups. */
export const ROWS = [
  ['The machine'],
  ['page-size', 'size of pages; of huge pages'],
  ['user-space-end', 'user space ends at'],
  ['The interface'],
  ['pagemap-scan', 'PAGEMAP_SCAN'],
  ['wp-async', 'asynchronous write protection (what tracking takes)'],
  ...CATEGORIES.map(({ name }) => [`category-${name}`, `\`${name}\``]),
  ['soft-dirty-words', 'soft-dirty bits in /proc/PID/pagemap'],
  ['guard-install', 'MADV_GUARD_INSTALL'],
  ['procmap-query', 'PROCMAP_QUERY'],
  ['pidfd-getfd', 'pidfd_getfd'],
  ['userfaultfd-features', 'userfaultfd write-protects'],
  ['What it answers'],
  [PROFILE_ROW, 'as'],
  ...Object.entries(KERNEL_FACTS).map(([property, fact]) => [`fact-${property}`, factTitle(fact)]),
  ['hole-written', 'a hole in a mapping that is not registered is written'],
  ['The command, as root'],
  ['command-scan', '`pmscan scan`'],
  ['command-maps', '`pmscan maps`'],
  ['command-watch', '`pmscan watch`'],
  ['command-core', '`pmscan core`'],
  ['command-core-stop', '`pmscan core --stop`'],
  ['command-run', '`pmscan run --on kernel`'],
  ['command-demo', '`pmscan demo`'],
  ['command-doctor', '`pmscan doctor`'],
  ['An ordinary user'],
  ['unprivileged-userfaultfd', 'vm.unprivileged_userfaultfd, as booted'],
  ['user-userfaultfd', 'userfaultfd, the unrestricted kind'],
  ['user-mode-only', 'userfaultfd, the kind for user mode only (enough for tracking)'],
  ['userfaultfd-device', '/dev/userfaultfd'],
  ['yama', 'Yama (kernel.yama.ptrace_scope)'],
  ['Dangers of the bare ioctl'],
  ['stale-walk-end', '`walk_end` is behind after many regions'],
  ['half-done-eperm', 'EPERM comes after a part was protected'],
  ['hugetlb-hole-hangs', 'protecting a hugetlb hole by a scan hangs for ever'],
  ['guard-hangs', 'MADV_GUARD_INSTALL over protected pages of a file does not return'],
];
