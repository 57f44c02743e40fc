/**
 * What this kernel does, measured: one JSON object of facts on standard output, each a row of docs/reference/kernels.md.
 * Safe to run on any machine: what can hang is not tried here (`dangers.ts`).
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  mman,
  PAGE_IS_PRESENT,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  PagemapError,
  PM_SCAN_CHECK_WPASYNC,
  PM_SCAN_WP_MATCHING,
  RegionBuffer,
  storeU64,
  uffd,
} from '../../src/abi/index.js';
import {
  PROCMAP_QUERY,
  PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
  PROCMAP_QUERY_STRUCT,
} from '../../src/abi/procmap.js';
import {
  hugePageSize,
  kernelCategories,
  type LivePagemap,
  mapMemory,
  openPagemap,
  pageSize,
  probeCapabilities,
  SafeAccess,
  Userfaultfd,
  userSpaceEnd,
} from '../../src/live/index.js';
import { libc } from '../../src/live/libc.js';
import {
  KERNEL_FACTS,
  type KernelFact,
  type MeasuredProfile,
  measureProfile,
  type ProfileProperty,
} from '../../src/scenario/index.js';

const MAIN = join(import.meta.dirname, '../../dist/cli/main.js');

/** What is in a cell. */
type Fact = 'yes' | 'no' | string;

const answer = (value: unknown): Fact => (value ? 'yes' : 'no');

/** The errno's name when `work` fails by one, and otherwise what it gives. */
function attempt(work: () => Fact): Fact {
  try {
    return work();
  } catch (error) {
    if (error instanceof PagemapError) return `no (${error.code})`;
    throw error;
  }
}

function setting(path: string): Fact {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return 'not there';
  }
}

// --- scans --------------------------------------------------------------------------------------------------------

class Scans implements Disposable {
  readonly pagemap: LivePagemap = openPagemap('self');
  readonly access = new SafeAccess();
  readonly #output = new RegionBuffer(4096);

  /** Whether the page is WRITTEN: not by the masks that have a way of their own in the kernel. */
  isWritten(address: number): boolean {
    const returnMask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT;
    return this.#scan(address, pageSize(), PAGE_IS_WRITTEN, returnMask).regions === 1;
  }

  categories(address: number): number {
    return this.#scan(address, pageSize(), 0, kernelCategories()).regions === 0
      ? 0
      : this.#output.categories(0);
  }

  #scan(start: number, lengthBytes: number, categoryMask: number, returnMask: number) {
    return this.pagemap.scan({ start, end: start + lengthBytes, categoryMask, returnMask }, this.#output);
  }

  /** A scan of many regions: is `walkEnd` where it ended? */
  staleWalkEnd(): Fact {
    const pages = 2400;
    using memory = mapMemory({ lengthBytes: pages * pageSize() });
    for (let page = 0; page < pages; page += 2) this.access.write(memory.address + page * pageSize(), 1);
    const found = this.#scan(memory.address, memory.lengthBytes, PAGE_IS_PRESENT, PAGE_IS_PRESENT);
    if (found.regions !== pages / 2) return `${found.regions} of ${pages / 2} regions`;
    return answer(found.walkEnd < memory.end);
  }

  /** A scan that protects, and comes upon a mapping that is not registered: what of the part before it? */
  halfDone(): Fact {
    using memory = mapMemory({ lengthBytes: 4 * pageSize() });
    using faults = Userfaultfd.open();
    faults.register(memory.address, 2 * pageSize());
    this.access.write(memory.address, 1);
    try {
      const flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
      const masks = { categoryMask: PAGE_IS_WRITTEN, returnMask: PAGE_IS_WRITTEN };
      this.pagemap.scan({ start: memory.address, end: memory.end, flags, ...masks }, this.#output);
      return 'no error';
    } catch (error) {
      if (!(error instanceof PagemapError) || error.code !== 'EPERM') throw error;
    }
    return answer(!this.isWritten(memory.address));
  }

  [Symbol.dispose](): void {
    this.access[Symbol.dispose]();
    this.pagemap[Symbol.dispose]();
  }
}

/** A range in which no page has a page table yet. */
const untouched = () => mapMemory({ lengthBytes: 2 * hugePageSize(), alignBytes: hugePageSize() });

function scanFacts(): Record<string, Fact> {
  using scans = new Scans();
  return {
    'hole-written': attempt(() => {
      using memory = untouched();
      return answer(scans.isWritten(memory.address));
    }),
    'stale-walk-end': attempt(() => scans.staleWalkEnd()),
    'half-done-eperm': attempt(() => scans.halfDone()),
  };
}

// --- what the simulator has to know ---------------------------------------------------------------------------------

/** The kernel's profile in words: the named one that it is nearest to, and what differs. */
function inWords({ nearest, differences, unexplained }: MeasuredProfile): Fact {
  const but = [...differences.map(({ says }) => says), ...unexplained.map(({ property }) => `? ${property}`)];
  return but.length === 0 ? nearest : `${nearest}, but: ${but.join('; ')}`;
}

async function profileFacts(): Promise<Record<string, Fact>> {
  const measured = await measureProfile();
  const facts: Record<string, Fact> = { profile: inWords(measured) };
  for (const property of Object.keys(KERNEL_FACTS) as ProfileProperty[]) {
    const value = measured.profile[property];
    facts[`fact-${property}`] =
      typeof value === 'boolean' ? answer(value) : (KERNEL_FACTS[property] as KernelFact).says(value);
  }
  for (const { property, why } of measured.unasked) facts[`fact-${property}`] = `cannot be told: ${why}`;
  for (const { property, scenario } of measured.unexplained) {
    facts[`fact-${property}`] = 'an answer that no known kernel gives';
    process.stderr.write(`An answer that no known kernel gives:\n${scenario}`);
  }
  return facts;
}

// --- what else there is -------------------------------------------------------------------------------------------

/** The bit that older ways of tracking go by (man proc(5), /proc/PID/clear_refs). */
function softDirtyWords(): Fact {
  using pagemap = openPagemap('self');
  using access = new SafeAccess();
  using memory = mapMemory({ lengthBytes: pageSize() });
  const isDirty = () => {
    const words = new Uint32Array(2);
    pagemap.readWords(memory.address, words);
    return (words[1]! & (1 << 23)) !== 0;
  };
  access.write(memory.address, 1);
  writeFileSync('/proc/self/clear_refs', '4');
  const cleared = !isDirty();
  access.write(memory.address, 2);
  return answer(cleared && isDirty());
}

function guardInstall(): Fact {
  return attempt(() => {
    using memory = mapMemory({ lengthBytes: pageSize() });
    memory.advise(mman.MADV_GUARD_INSTALL);
    return 'yes';
  });
}

function procmapQuery(): Fact {
  const { offset, sizeBytes } = PROCMAP_QUERY_STRUCT;
  const block = new ArrayBuffer(sizeBytes);
  storeU64(new Uint32Array(block), offset.size / 4, sizeBytes);
  storeU64(new Uint32Array(block), offset.query_flags / 4, PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
  const fd = openSync('/proc/self/maps', 'r');
  const result = libc().ioctl(fd, PROCMAP_QUERY, libc().address(block));
  closeSync(fd);
  return answer(result >= 0);
}

function features(): Fact {
  return attempt(() => {
    using faults = Userfaultfd.open({ features: 0 });
    const names = {
      'protects anonymous memory': uffd.UFFD_FEATURE_PAGEFAULT_FLAG_WP,
      'shared memory and hugetlb': uffd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
      'unpopulated pages': uffd.UFFD_FEATURE_WP_UNPOPULATED,
      asynchronously: uffd.UFFD_FEATURE_WP_ASYNC,
    };
    const found = Object.entries(names).filter(([, bit]) => faults.availableFeatures & bit);
    return found.length === 0 ? 'no' : found.map(([name]) => name).join(', ');
  });
}

/** The same as another user. */
function asUser<T>(work: string): T {
  const text = execFileSync(process.execPath, [import.meta.filename, work], {
    uid: 65534,
    gid: 65534,
    encoding: 'utf8',
  });
  return JSON.parse(text) as T;
}

// --- the command --------------------------------------------------------------------------------------------------

const SCENARIO = [
  { scenario: 1, name: 'a page', arena: '0x600000000000', arena_pages: 16 },
  { op: 'mmap', at: 0, pages: 2, prot: 'rw', type: 'anon', sharing: 'private', expect: { ret: 0 } },
  { op: 'write', at: 0, pages: 1, step: 1, expect: { ok: 1, fault: 0 } },
]
  .map((line) => JSON.stringify(line))
  .join('\n');

async function commands(): Promise<Record<string, Fact>> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e9); console.log("ready")'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  await once(child.stdout!, 'data');
  const folder = execFileSync('mktemp', ['-d'], { encoding: 'utf8' }).trim();
  const pid = String(child.pid);
  const lines: Record<string, string[]> = {
    scan: ['scan', pid, '--where', 'present', '--json'],
    maps: ['maps', pid, '--json'],
    watch: ['watch', pid, '--duration', '300ms', '--interval', '100ms', '--json'],
    run: ['run', '-', '--on', 'kernel', '--check'],
    core: ['core', pid, '-o', join(folder, 'core')],
    'core-stop': ['core', pid, '--stop', '-o', join(folder, 'core')],
    demo: ['demo'],
    doctor: ['doctor', '--json'],
  };
  const facts: Record<string, Fact> = {};
  for (const [name, args] of Object.entries(lines)) {
    const run = () =>
      spawnSync(process.execPath, [MAIN, ...args], {
        input: SCENARIO,
        encoding: 'utf8',
        timeout: 120_000,
        maxBuffer: 2 ** 28,
      });
    let { status, stdout } = run();
    // Any reason that passes, as a machine that has too much else to do: what a kernel cannot has a code of its own.
    if (status === 1) ({ status, stdout } = run());
    facts[`command-${name}`] =
      status === 0
        ? name === 'demo' && stdout.includes('SIMULATED')
          ? 'simulated'
          : 'yes'
        : `no, exit code ${status}`;
  }
  child.kill('SIGKILL');
  await exited;
  execFileSync('rm', ['-r', folder]);
  return facts;
}

// --- all of it ----------------------------------------------------------------------------------------------------

if (process.argv[2] === 'userfaultfd') {
  const open = (userModeOnly: boolean) =>
    attempt(() => {
      using faults = Userfaultfd.open({ features: 0, userModeOnly });
      return faults.source === '/dev/userfaultfd' ? 'by /dev/userfaultfd' : 'yes';
    });
  process.stdout.write(JSON.stringify({ 'user-userfaultfd': open(false), 'user-mode-only': open(true) }));
} else {
  const facts: Record<string, Fact> = {};
  for (const { id, answer: found, how } of await probeCapabilities()) {
    facts[id] = found === 'no' && how.includes('EINVAL') ? 'no (EINVAL)' : found;
  }
  if (kernelCategories() !== 0) Object.assign(facts, scanFacts());
  // The questions are scenarios, which are of pages of 4 KiB.
  if (kernelCategories() !== 0 && pageSize() === PAGE_SIZE) Object.assign(facts, await profileFacts());
  Object.assign(facts, {
    'page-size': `${pageSize() >> 10} KiB; ${hugePageSize() >> 20} MiB`,
    'user-space-end': `0x${userSpaceEnd().toString(16)}`,
    'soft-dirty-words': softDirtyWords(),
    'guard-install': guardInstall(),
    'procmap-query': procmapQuery(),
    'userfaultfd-features': features(),
    'userfaultfd-device': answer(existsSync('/dev/userfaultfd')),
    'unprivileged-userfaultfd': setting('/proc/sys/vm/unprivileged_userfaultfd'),
    yama: answer(existsSync('/proc/sys/kernel/yama/ptrace_scope')),
  });
  if (process.geteuid?.() === 0) Object.assign(facts, asUser<Record<string, Fact>>('userfaultfd'));
  Object.assign(facts, await commands());
  process.stdout.write(`${JSON.stringify({ release: setting('/proc/sys/kernel/osrelease'), facts })}\n`);
}
