import { PAGE_SIZE, PagemapError, RegionBuffer } from '../abi/index.js';
import {
  AddressSpace,
  type KernelProfile,
  type KernelProfileName,
  type MemoryFile,
  type SimulatedUserfaultfd,
} from '../sim/index.js';
import {
  ADVICE,
  featureBits,
  hex,
  modeBits,
  protectionBits,
  RecordedErrno,
  type ScenarioBackend,
  scanAnswer,
  u64,
} from './backend.js';
import type { Answer, Op, ScanOp, Scenario } from './format.js';

const EINVAL = 22;
const ERANGE = 34;
const MOST_INT = 2 ** 31 - 1;
const MAX_VEC = 65536;
const SHOWN_PAGES = 8;

/**
 * The simulator as a backend. Scenarios are independent of each other.
 *
 * @example
 * ```ts
 * import { parseScenarios, SimulatorBackend } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(`{"scenario":1,"name":"guard","arena":"0x600000000000","arena_pages":16}
 * {"op":"mmap","at":0,"pages":4,"type":"anon","sharing":"private","prot":"rw"}
 * {"op":"madvise","at":0,"pages":1,"advice":"guard_install"}`);
 * console.assert(new SimulatorBackend('6.18').run(scenario!)[1]?.ret === 0);
 * console.assert(new SimulatorBackend('6.12').run(scenario!)[1]?.errno === 'EINVAL');
 * ```
 */
export class SimulatorBackend implements ScenarioBackend {
  readonly name: string;
  readonly #profile: KernelProfileName | KernelProfile;

  constructor(profile: KernelProfileName | KernelProfile = '6.18') {
    this.#profile = profile;
    this.name = `simulator ${typeof profile === 'string' ? profile : profile.name}`;
  }

  run(scenario: Scenario): Answer[] {
    const process = new SimulatedProcess(scenario, this.#profile);
    return scenario.steps.map(({ op }) => process.apply(op));
  }

  describe(scenario: Scenario, step: number): string[] {
    const process = new SimulatedProcess(scenario, this.#profile);
    for (const { op } of scenario.steps.slice(0, step)) process.apply(op);
    return process.describe(scenario.steps[step]!.op);
  }
}

/** One run of one scenario: the address space and what its operations refer to by name. */
export class SimulatedProcess {
  readonly space: AddressSpace;
  readonly #arena: number;
  readonly #arenaEnd: number;
  readonly #files = new Map<string, MemoryFile>();
  readonly #uffds = new Map<string, SimulatedUserfaultfd>();
  readonly #errno = new RecordedErrno();
  #output = new RegionBuffer(512);

  constructor(scenario: Scenario, profile: KernelProfileName | KernelProfile) {
    this.space = new AddressSpace({ profile });
    this.#arena = scenario.arena;
    this.#arenaEnd = scenario.arena + scenario.arenaPages * PAGE_SIZE;
  }

  /** Runs one operation. */
  apply(op: Op): Answer {
    let answer: Answer;
    try {
      answer = this.#apply(op);
    } catch (error) {
      if (!(error instanceof PagemapError)) throw error;
      const walkEnd = error.walkEnd === undefined ? {} : { walk_end: hex(error.walkEnd) };
      answer = { errno: error.code, ...walkEnd };
    }
    return this.#errno.record(op, answer);
  }

  #apply(op: Op): Answer {
    const { space } = this;
    const at = 'at' in op ? this.#arena + op.at * PAGE_SIZE : 0;
    const length = 'pages' in op ? op.pages * PAGE_SIZE : 0;
    switch (op.op) {
      case 'file':
        this.#files.set(op.file, space.createFile(length));
        break;
      case 'mmap': {
        const file = op.file === undefined ? undefined : this.#file(op.file);
        space.mmap({
          address: at,
          lengthBytes: length,
          prot: protectionBits(op.prot),
          shared: op.sharing === 'shared',
          hugetlb: op.type === 'hugetlb',
          ...(file === undefined ? {} : { file, offset: (op.offset ?? 0) * PAGE_SIZE }),
        });
        break;
      }
      case 'munmap':
        space.munmap(at, length);
        break;
      case 'mprotect':
        space.mprotect(at, length, protectionBits(op.prot));
        break;
      case 'mremap':
        space.mremap(at, length, op.to_pages * PAGE_SIZE, this.#arena + op.to * PAGE_SIZE);
        break;
      case 'madvise':
        space.madvise(at, length, ADVICE[op.advice]);
        break;
      case 'read':
        return space.read(at, length, op.step);
      case 'write':
        return space.write(at, length, op.step);
      case 'uffd': {
        this.#uffds.get(op.uffd)?.[Symbol.dispose]();
        this.#uffds.set(op.uffd, space.userfaultfd(featureBits(op.features)));
        break;
      }
      case 'register':
        this.#uffd(op.uffd).register(at, length, modeBits(op.mode));
        break;
      case 'unregister':
        this.#uffd(op.uffd).unregister(at, length);
        break;
      case 'writeprotect':
        this.#uffd(op.uffd).writeProtect(at, length, op.wp);
        break;
      case 'rwprotect':
        this.#uffd(op.uffd).rwProtect(at, length, op.rwp);
        break;
      case 'close':
        this.#uffd(op.uffd)[Symbol.dispose]();
        break;
      case 'clear_refs':
        this.#clearRefs(op.value);
        break;
      case 'scan':
        return this.#scan(op);
    }
    return { ret: 0 };
  }

  /** The address space of a process that has ended. */
  get #gone(): AddressSpace {
    const space = new AddressSpace({ profile: this.space.profile });
    space.exit();
    return space;
  }

  #file(name: string): MemoryFile {
    const file = this.#files.get(name);
    if (file === undefined) throw new PagemapError(`map file ${name}`, { errno: 9, syscall: 'mmap' });
    return file;
  }

  #uffd(name: string): SimulatedUserfaultfd {
    const found = this.#uffds.get(name);
    if (found === undefined)
      throw new PagemapError(`use userfaultfd ${name}`, { errno: 9, syscall: 'ioctl' });
    return found;
  }

  /** As Linux 6.18 answers: it reads the number as an int and knows 1 to 5; only 4 changes the results of scans. */
  #clearRefs(value: number): void {
    const errno = value > MOST_INT ? ERANGE : value < 1 || value > 5 ? EINVAL : 0;
    if (errno !== 0) throw new PagemapError(`write ${value} to clear_refs`, { errno, syscall: 'write' });
    if (value === 4) this.space.clearSoftDirty();
  }

  #scan(op: ScanOp): Answer {
    const vecLen = u64(op.vec_len);
    // A recorder has room for so many regions, whatever length it claims.
    const needed = Math.min(Math.max(Number(vecLen), 1), MAX_VEC);
    if (this.#output.capacity < needed) this.#output = new RegionBuffer(needed);
    const output = op.vec ? this.#output : null;
    const space = op.gone === true ? this.#gone : this.space;
    return scanAnswer(space.pagemap, op, output);
  }

  /** The entries around an operation's range, one line each. */
  describe(op: Op): string[] {
    let start = this.#arena;
    let end = this.#arenaEnd;
    if ('at' in op) {
      start = this.#arena + op.at * PAGE_SIZE;
      end = start + op.pages * PAGE_SIZE;
    } else if (op.op === 'scan') {
      start = Math.max(start, Number(op.start));
      end = Math.min(end, Number(op.end));
    }
    const lines: string[] = [];
    const from = Math.max(this.#arena, start - 2 * PAGE_SIZE);
    let previous = '';
    let run = 0;
    for (let address = from; address < Math.min(end + 2 * PAGE_SIZE, this.#arenaEnd); address += PAGE_SIZE) {
      const { mapped, level, entry } = this.space.pageState(address);
      const page = (address - this.#arena) / PAGE_SIZE;
      // Entries that differ in the frame alone are of one kind.
      const kind = `${mapped}${level}${entry & 0xfffn}${entry >> 59n}`;
      run = kind === previous ? run + 1 : 0;
      previous = kind;
      if (run === 0) {
        lines.push(
          `page ${page} ${hex(address)} ${mapped ? 'mapped' : 'unmapped'} ${level} 0x${entry.toString(16)}`,
        );
      }
      if (lines.length > 4 * SHOWN_PAGES) {
        lines.push('…');
        break;
      }
    }
    return lines;
  }
}
