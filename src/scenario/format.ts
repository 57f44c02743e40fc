/**
 * Scenario files: memory operations with what a kernel answered, one JSON object a line. docs/reference has the
 * format in full.
 */

import { HUGE_PAGE_SIZE, PAGE_REGION, PAGE_SIZE, USER_SPACE_END } from '../abi/index.js';

/** An address range in pages from the arena's start. */
interface Pages {
  readonly at: number;
  readonly pages: number;
}

/** Access to memory by name: 'none', or letters of 'rwx'. */
export type Protection = string;

/** What to advise, as scenario files name it. */
export const ADVICE_NAMES = [
  'dontneed',
  'hugepage',
  'nohugepage',
  'populate_read',
  'populate_write',
  'collapse',
  'guard_install',
  'guard_remove',
  'free',
  'pageout',
  'remove',
  'cold',
] as const;
export type AdviceName = (typeof ADVICE_NAMES)[number];

/** userfaultfd features, as scenario files name them. */
export const FEATURE_NAMES = [
  'wp_async',
  'wp_unpopulated',
  'wp_hugetlbfs_shmem',
  'rwp',
  'rwp_async',
] as const;
export type FeatureName = (typeof FEATURE_NAMES)[number];

/** What a range is registered for: write protection, or read-write protection (Linux 7.3). Both together are refused. */
export const REGISTER_MODES = ['wp', 'rwp'] as const;
export type RegisterMode = (typeof REGISTER_MODES)[number];

export interface FileOp {
  readonly op: 'file';
  readonly file: string;
  readonly pages: number;
}
export interface MmapOp extends Pages {
  readonly op: 'mmap';
  readonly prot: Protection;
  readonly type: 'anon' | 'file' | 'hugetlb';
  readonly sharing: 'private' | 'shared';
  readonly file?: string | undefined;
  /** Pages. */
  readonly offset?: number | undefined;
}
export interface MunmapOp extends Pages {
  readonly op: 'munmap';
}
export interface MprotectOp extends Pages {
  readonly op: 'mprotect';
  readonly prot: Protection;
}
/** Moves a mapping's range to another place, of the same or another size (MREMAP_FIXED). */
export interface MremapOp extends Pages {
  readonly op: 'mremap';
  /** Page number of the new place. */
  readonly to: number;
  readonly to_pages: number;
}
export interface MadviseOp extends Pages {
  readonly op: 'madvise';
  readonly advice: AdviceName;
}
export interface AccessOp extends Pages {
  readonly op: 'read' | 'write';
  readonly step: number;
}
export interface UffdOp {
  readonly op: 'uffd';
  readonly uffd: string;
  readonly features: readonly FeatureName[];
}
export interface RegisterOp extends Pages {
  readonly op: 'register';
  readonly uffd: string;
  readonly mode: readonly RegisterMode[];
}
export interface UnregisterOp extends Pages {
  readonly op: 'unregister';
  readonly uffd: string;
}
export interface WriteprotectOp extends Pages {
  readonly op: 'writeprotect';
  readonly uffd: string;
  readonly wp: boolean;
}
/** Linux 7.3. */
export interface RwprotectOp extends Pages {
  readonly op: 'rwprotect';
  readonly uffd: string;
  readonly rwp: boolean;
}
export interface CloseOp {
  readonly op: 'close';
  readonly uffd: string;
}
export interface ClearRefsOp {
  readonly op: 'clear_refs';
  readonly value: number;
}
/** A u64: a number, or a hexadecimal string where a double would not hold it. */
export type U64 = number | string;
export interface ScanOp {
  readonly op: 'scan';
  readonly size: U64;
  readonly flags: U64;
  readonly start: U64;
  readonly end: U64;
  readonly vec: boolean;
  readonly vec_len: U64;
  readonly max_pages: U64;
  readonly inverted: U64;
  readonly mask: U64;
  readonly anyof: U64;
  readonly return: U64;
  /** Whether to scan the address space of a process that has ended, instead of the scenario's own. */
  readonly gone?: boolean | undefined;
}

/** One operation. */
export type Op =
  | FileOp
  | MmapOp
  | MunmapOp
  | MprotectOp
  | MremapOp
  | MadviseOp
  | AccessOp
  | UffdOp
  | RegisterOp
  | UnregisterOp
  | WriteprotectOp
  | RwprotectOp
  | CloseOp
  | ClearRefsOp
  | ScanOp;

/** The answer to an operation; its fields depend on the operation. */
export interface Answer {
  readonly ret?: number | undefined;
  /** The error's name. */
  readonly errno?: string | undefined;
  /** Numbers of accesses that succeeded and that failed. */
  readonly ok?: number | undefined;
  readonly fault?: number | undefined;
  /** For a scan that passed validation: a hexadecimal address. */
  readonly walk_end?: string | undefined;
  /** For a scan that returned regions: start, end, categories. */
  readonly regions?: readonly (readonly [start: string, end: string, categories: number])[] | undefined;
}

/** An operation in a file, with the recorded answer if there is one. */
export interface Step {
  readonly op: Op;
  readonly expect: Answer | undefined;
  /** Line in the file, from 1. */
  readonly line: number;
}

/** A sequence of operations on a fresh process. */
export interface Scenario {
  readonly name: string;
  /** The kernel that it was recorded on, as its header says. */
  readonly kernel: string | undefined;
  /** Address of page 0, bytes. */
  readonly arena: number;
  readonly arenaPages: number;
  readonly steps: readonly Step[];
}

/**
 * A scenario file has an error: what is wrong, and in which line.
 *
 * @example
 * ```ts
 * import { parseScenarios, ScenarioError } from 'pagemap-scan/scenario';
 * try {
 *   parseScenarios('{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}\n{"op":"mmmap"}');
 * } catch (error) {
 *   console.assert(error instanceof ScenarioError && error.line === 2);
 * }
 * ```
 */
export class ScenarioError extends Error {
  override readonly name = 'ScenarioError';
  readonly code = 'ERR_SCENARIO_FORMAT';
  readonly line: number;

  constructor(source: string, line: number, problem: string) {
    super(`Cannot read ${source}:${line}: ${problem}`);
    this.line = line;
  }
}

// Files may be from anybody: what they ask for must end, on a machine of ordinary size.

/** Pages of an arena: 1 GiB. */
const MOST_ARENA_PAGES = 2 ** 18;
/** Pages of all files of a scenario together, and of an offset into one: 256 MiB. */
const MOST_FILE_PAGES = 2 ** 16;
/** Regions that a scan of a recording has room for. */
const MOST_REGIONS = 2 ** 16;
/** From so many on no kernel accepts the length: the vector would go beyond user space. */
const IMPOSSIBLE_REGIONS = Math.floor(USER_SPACE_END / PAGE_REGION.sizeBytes) + 1;
/** Characters of a name: no more than 192 bytes, and a memory file's name has room for 249. */
const MOST_NAME_CHARACTERS = 64;
/** Pages of a huge page. */
const HUGE_PAGES = HUGE_PAGE_SIZE / PAGE_SIZE;

type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string' && value !== '';
const isName: Check = (value) => isText(value) && (value as string).length <= MOST_NAME_CHARACTERS;
const isCount: Check = (value) => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
const isStep: Check = (value) => isCount(value) && value !== 0;
const isBoolean: Check = (value) => typeof value === 'boolean';
const isU64: Check = (value) =>
  isCount(value) || (typeof value === 'string' && /^0x[0-9a-f]{1,16}$/i.test(value));
const isRegion: Check = (value) =>
  Array.isArray(value) && value.length === 3 && isU64(value[0]) && isU64(value[1]) && isCount(value[2]);
const isProtection: Check = (value) =>
  value === 'none' || (typeof value === 'string' && /^r?w?x?$/.test(value) && value !== '');
const oneOf =
  (names: readonly unknown[]): Check =>
  (value) =>
    names.includes(value);
const listOf =
  (names: readonly unknown[]): Check =>
  (value) =>
    Array.isArray(value) && value.every((item) => names.includes(item));

const PAGES = { at: isCount, pages: isCount };
const SCAN_NUMBERS = [
  'size',
  'flags',
  'start',
  'end',
  'vec_len',
  'max_pages',
  'inverted',
  'mask',
  'anyof',
  'return',
];

/** The keys of each operation; a question mark ends the name of one that may be left out. */
const KEYS: Readonly<Record<Op['op'], Readonly<Record<string, Check>>>> = {
  file: { file: isName, pages: isCount },
  mmap: {
    ...PAGES,
    prot: isProtection,
    type: oneOf(['anon', 'file', 'hugetlb']),
    sharing: oneOf(['private', 'shared']),
    'file?': isName,
    'offset?': isCount,
  },
  munmap: PAGES,
  mprotect: { ...PAGES, prot: isProtection },
  mremap: { ...PAGES, to: isCount, to_pages: isCount },
  madvise: { ...PAGES, advice: oneOf(ADVICE_NAMES) },
  read: { ...PAGES, step: isStep },
  write: { ...PAGES, step: isStep },
  uffd: { uffd: isName, features: listOf(FEATURE_NAMES) },
  register: { uffd: isName, ...PAGES, mode: listOf(REGISTER_MODES) },
  unregister: { uffd: isName, ...PAGES },
  writeprotect: { uffd: isName, ...PAGES, wp: isBoolean },
  rwprotect: { uffd: isName, ...PAGES, rwp: isBoolean },
  close: { uffd: isName },
  clear_refs: { value: isCount },
  scan: {
    ...Object.fromEntries(SCAN_NUMBERS.map((key) => [key, isU64])),
    vec: isBoolean,
    'gone?': isBoolean,
  },
};

const ANSWER_KEYS: Readonly<Record<string, Check>> = {
  ret: isCount,
  errno: isText,
  ok: isCount,
  fault: isCount,
  walk_end: isU64,
  regions: (value) => Array.isArray(value) && value.every(isRegion),
};

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value in a message: what is long, or nested deeper than JSON.stringify goes, by its kind. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isRecord(value)) return 'an object';
  const text = JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** What is wrong with the keys of an operation and their values, or undefined. */
function keyProblem(record: Record<string, unknown>): string | undefined {
  const name = record['op'];
  if (typeof name !== 'string') return 'an operation needs the key "op"';
  if (!Object.hasOwn(KEYS, name)) return `unknown operation ${shown(name)}`;
  const keys = KEYS[name as Op['op']];
  const known = new Set(['op', 'expect']);
  for (const [key, check] of Object.entries(keys)) {
    const optional = key.endsWith('?');
    const plain = optional ? key.slice(0, -1) : key;
    known.add(plain);
    const value = record[plain];
    if (value === undefined) {
      if (!optional) return `${name} lacks the key "${plain}"`;
    } else if (!check(value)) return `${name}: ${shown(value)} is not possible for "${plain}"`;
  }
  for (const key of Object.keys(record)) if (!known.has(key)) return `${name}: unknown key ${shown(key)}`;
  if (name === 'mmap' && (record['type'] === 'file') !== (record['file'] !== undefined)) {
    return 'mmap: "file" goes with "type":"file" and with nothing else';
  }
  return record['expect'] === undefined ? undefined : answerProblem(name, record['expect']);
}

/** What is wrong with a recorded answer, or undefined. */
function answerProblem(name: string, expect: unknown): string | undefined {
  if (!isRecord(expect)) return `${name}: "expect" must be an object`;
  for (const [key, value] of Object.entries(expect)) {
    if (!Object.hasOwn(ANSWER_KEYS, key)) return `${name}: unknown key ${shown(key)} in "expect"`;
    if (!ANSWER_KEYS[key]!(value)) return `${name}: ${shown(value)} is not possible for "${key}" in "expect"`;
  }
  return undefined;
}

/** A scenario that is being read. */
interface Draft {
  /** From the arena's start to the end of user space, pages: the kernel refuses what lies there. */
  readonly userPages: number;
  readonly arenaPages: number;
  readonly steps: Step[];
  /** Pages of its files so far. */
  filePages: number;
}

/** What is wrong with the sizes of an operation, or undefined. */
function sizeProblem(op: Op, draft: Draft): string | undefined {
  const goesBeyond = (at: number, pages: number) =>
    at + pages > draft.arenaPages
      ? `${op.op} goes beyond the arena: ${pages} pages from page ${at} on, of ${draft.arenaPages}`
      : undefined;
  // What lies beyond user space is refused as a whole. What begins in user space may be memory of who runs the scenario.
  const isMappable = (at: number, pages: number) =>
    at >= draft.userPages ? undefined : goesBeyond(at, pages);
  switch (op.op) {
    case 'file':
      draft.filePages += op.pages;
      return draft.filePages > MOST_FILE_PAGES
        ? `file: the files of a scenario have at most ${MOST_FILE_PAGES} pages together`
        : undefined;
    case 'mmap': {
      if ((op.offset ?? 0) > MOST_FILE_PAGES) return `mmap: "offset" is at most ${MOST_FILE_PAGES}`;
      // The kernel maps whole huge pages.
      const unit = op.type === 'hugetlb' ? HUGE_PAGES : 1;
      return isMappable(op.at, Math.ceil(op.pages / unit) * unit);
    }
    case 'mremap':
      // So is what reaches beyond it.
      return [
        [op.at, op.pages],
        [op.to, op.to_pages],
      ]
        .filter(([at, pages]) => at! + pages! <= draft.userPages)
        .map(([at, pages]) => goesBeyond(at!, pages!))
        .find((problem) => problem !== undefined);
    case 'read':
    case 'write':
      return goesBeyond(op.at, op.pages);
    case 'scan': {
      // Its addresses may be any, and often are wrong ones: it changes nothing that is not of the scenario.
      const regions = Number(op.vec_len);
      return regions > MOST_REGIONS && regions < IMPOSSIBLE_REGIONS
        ? `scan: "vec_len" is at most ${MOST_REGIONS}, or so long that it is refused: from ${IMPOSSIBLE_REGIONS} on`
        : undefined;
    }
    default:
      return 'at' in op ? isMappable(op.at, op.pages) : undefined;
  }
}

/**
 * Parses a scenario file. Sizes are bounded, so that files of others can be run on the simulator: an arena has at most
 * 262,144 pages, and the files of a scenario have at most 65,536 together.
 *
 * @param text JSON Lines; empty lines are skipped
 * @param source what to call it in messages
 * @throws ScenarioError for a line that is neither a header nor a known operation with exactly its keys, and for pages
 * beyond the arena
 * @example
 * ```ts
 * import { parseScenarios } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(
 *   '{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}\n{"op":"munmap","at":0,"pages":1}',
 * );
 * console.assert(scenario?.steps.length === 1);
 * ```
 */
export function parseScenarios(text: string, source = 'scenario'): Scenario[] {
  const scenarios: Scenario[] = [];
  let draft: Draft | undefined;
  let line = 0;
  for (const row of text.split('\n')) {
    line++;
    if (row.trim() === '') continue;
    let record: unknown;
    try {
      record = JSON.parse(row);
    } catch (error) {
      throw new ScenarioError(source, line, `not JSON (${(error as Error).message})`);
    }
    if (!isRecord(record)) throw new ScenarioError(source, line, 'not a JSON object');
    if (record['scenario'] !== undefined) {
      const header = parseHeader(record, source, line);
      const { arena, arenaPages } = header;
      draft = { arenaPages, userPages: (USER_SPACE_END - arena) / PAGE_SIZE, steps: [], filePages: 0 };
      scenarios.push({ ...header, steps: draft.steps });
      continue;
    }
    if (draft === undefined) throw new ScenarioError(source, line, 'an operation before the first header');
    const { expect, ...rest } = record;
    const op = rest as unknown as Op;
    const problem = keyProblem(record) ?? sizeProblem(op, draft);
    if (problem !== undefined) throw new ScenarioError(source, line, problem);
    draft.steps.push({ op, expect: expect as Answer | undefined, line });
  }
  return scenarios;
}

function parseHeader(record: Record<string, unknown>, source: string, line: number): Omit<Scenario, 'steps'> {
  const fail = (problem: string) => new ScenarioError(source, line, problem);
  if (record['scenario'] !== 1) throw fail(`version ${shown(record['scenario'])} is not known`);
  const { arena: address, arena_pages: arenaPages, name = `line ${line}`, kernel } = record;
  if (!isU64(address)) throw fail('the header lacks "arena", an address');
  if (!isCount(arenaPages)) throw fail('the header lacks "arena_pages", a number');
  if (typeof name !== 'string') throw fail(`${shown(name)} is not possible for "name", a text`);
  if (kernel !== undefined && typeof kernel !== 'string')
    throw fail(`${shown(kernel)} is not possible for "kernel", a text`);
  const arena = Number(address);
  const pages = arenaPages as number;
  if (arena % PAGE_SIZE !== 0) throw fail(`the arena does not begin with a page: ${shown(address)}`);
  if (pages > MOST_ARENA_PAGES) throw fail(`an arena has at most ${MOST_ARENA_PAGES} pages, not ${pages}`);
  if (arena + pages * PAGE_SIZE > USER_SPACE_END)
    throw fail(`the arena lies outside user space, which ends at 0x${USER_SPACE_END.toString(16)}`);
  return { name, kernel, arena, arenaPages: pages };
}

/**
 * A scenario as lines of a file, with the answers given (or those recorded).
 *
 * @example
 * ```ts
 * import { formatScenario, generateScenario, parseScenarios, SimulatorBackend } from 'pagemap-scan/scenario';
 * const scenario = generateScenario('anon', 7);
 * const text = formatScenario(scenario, new SimulatorBackend('6.18').run(scenario));
 * const [recorded] = parseScenarios(text);
 * console.assert(recorded?.name === 'anon-7' && recorded.steps.every(({ expect }) => expect !== undefined));
 * ```
 */
export function formatScenario(scenario: Scenario, answers?: readonly Answer[]): string {
  const header = {
    scenario: 1,
    name: scenario.name,
    ...(scenario.kernel === undefined ? {} : { kernel: scenario.kernel }),
    arena: `0x${scenario.arena.toString(16)}`,
    arena_pages: scenario.arenaPages,
  };
  const lines = [JSON.stringify(header)];
  scenario.steps.forEach(({ op, expect }, index) => {
    const answer = answers?.[index] ?? expect;
    lines.push(JSON.stringify(answer === undefined ? op : { ...op, expect: answer }));
  });
  return `${lines.join('\n')}\n`;
}
