/**
 * The playground without its looks: operations on a simulated address space, what they answer and what the pages are
 * then. Everything is a scenario, so that a link, a file and `pmscan run` hold the same.
 */
import { PAGE_SIZE, RegionBuffer } from '../abi/index.js';
import {
  type Answer,
  formatScenario,
  type Op,
  parseScenarios,
  type Scenario,
  SimulatedProcess,
} from '../scenario/internal.js';
import { type KernelProfileName, kernelProfile, type SimulatedMapping } from '../sim/index.js';

/** Where the memory begins that one plays with: at the border of a huge page. */
export const ARENA = 0x6000_0000_0000;
/** Two huge pages. */
export const ARENA_PAGES = 1024;
/** More would only be slow: each change runs all of them again. */
const MOST_STEPS = 200;
const MOST_FILE_PAGES = 4096;

/** The memory after some operations. */
export interface Outcome {
  /** One for each operation. */
  readonly answers: readonly Answer[];
  /** Categories of each page of the arena, as a scan for all of them tells. */
  readonly categories: Uint16Array;
  /** 1 for each page that is mapped. */
  readonly mapped: Uint8Array;
  readonly mappings: readonly SimulatedMapping[];
}

function scenarioOf(ops: readonly Op[], kernel?: string): Scenario {
  const steps = ops.map((op, index) => ({ op, expect: undefined, line: index + 2 }));
  return { name: 'playground', kernel, arena: ARENA, arenaPages: ARENA_PAGES, steps };
}

const pageOf = (address: number) => (address - ARENA) / PAGE_SIZE;

/** Runs operations on a fresh process; what the memory is afterwards. */
export function play(ops: readonly Op[], profile: KernelProfileName): Outcome {
  const process = new SimulatedProcess(scenarioOf(ops), profile);
  const answers = ops.map((op) => process.apply(op));
  const mappings = [...process.space.mappings()];
  const mapped = new Uint8Array(ARENA_PAGES);
  for (const { start, end } of mappings) mapped.fill(1, Math.max(0, pageOf(start)), Math.max(0, pageOf(end)));
  const categories = new Uint16Array(ARENA_PAGES);
  const regions = new RegionBuffer(ARENA_PAGES);
  process.space.pagemap.scan(
    {
      start: ARENA,
      end: ARENA + ARENA_PAGES * PAGE_SIZE,
      returnMask: kernelProfile(profile).knownCategories,
    },
    regions,
  );
  for (let index = 0; index < regions.length; index++)
    categories.fill(regions.categories(index), pageOf(regions.start(index)), pageOf(regions.end(index)));
  return { answers, categories, mapped, mappings };
}

/** The pages of a scan's regions, as numbers from the arena's start, with their categories. */
export function reported(answer: Answer | undefined): { at: number; pages: number; categories: number }[] {
  return (answer?.regions ?? []).map(([start, end, categories]) => ({
    at: pageOf(Number(start)),
    pages: (Number(end) - Number(start)) / PAGE_SIZE,
    categories,
  }));
}

/** The operations as a scenario file, with the answers of a profile if there are any. */
export function toText(ops: readonly Op[], kernel?: string, answers?: readonly Answer[]): string {
  return formatScenario(scenarioOf(ops, kernel), answers);
}

function problemOf(op: Op): string | undefined {
  if ('at' in op && op.at + op.pages > ARENA_PAGES) return `${op.op} goes beyond page ${ARENA_PAGES}`;
  if (op.op === 'mremap' && op.to + op.to_pages > ARENA_PAGES)
    return `mremap goes beyond page ${ARENA_PAGES}`;
  if (op.op === 'file' && op.pages > MOST_FILE_PAGES) return `a file has at most ${MOST_FILE_PAGES} pages`;
  return undefined;
}

/**
 * The operations in a scenario file, which may be from anybody.
 *
 * @throws Error for one that is not well-formed, or not for this arena
 */
export function fromText(text: string): Op[] {
  const [scenario, ...more] = parseScenarios(text, 'the link');
  if (scenario === undefined || more.length > 0)
    throw new Error('Cannot read the link: it holds no scenario');
  if (scenario.arena !== ARENA || scenario.arenaPages !== ARENA_PAGES)
    throw new Error('Cannot read the link: its memory is another than that of the playground');
  if (scenario.steps.length > MOST_STEPS)
    throw new Error(`Cannot read the link: it has more than ${MOST_STEPS} operations`);
  const ops = scenario.steps.map(({ op }) => op);
  for (const op of ops) {
    const problem = problemOf(op);
    if (problem !== undefined) throw new Error(`Cannot read the link: ${problem}`);
  }
  return ops;
}

/** An operation in words, as the list shows it. */
export function describe(op: Op): string {
  const { op: name, ...rest } = op;
  if (name === 'scan') {
    const { start, end, flags, mask, anyof, inverted, return: wanted } = op as Extract<Op, { op: 'scan' }>;
    const first = pageOf(Number(start));
    const masks = Object.entries({ flags, inverted, mask, anyof, return: wanted })
      .filter(([, value]) => Number(value) !== 0)
      .map(([key, value]) => `${key} 0x${Number(value).toString(16)}`);
    return [`scan pages ${first} to ${pageOf(Number(end))}`, ...masks].join(', ');
  }
  const where = 'at' in rest ? [`${rest.pages} pages at ${rest.at}`] : [];
  const others = Object.entries(rest)
    .filter(([key]) => !['at', 'pages'].includes(key) || !('at' in rest))
    .filter(([key, value]) => !(key === 'step' && value === 1) && !(key === 'offset' && value === 0))
    .map(([key, value]) =>
      typeof value === 'boolean' || typeof value === 'number' ? `${key} ${value}` : String(value),
    );
  return `${name} ${[...where, ...others].join(', ')}`;
}

/** An answer in words. */
export function describeAnswer(answer: Answer | undefined): string {
  if (answer === undefined) return '';
  if (answer.errno !== undefined) return answer.errno;
  if (answer.ok !== undefined)
    return answer.fault ? `${answer.ok} done, ${answer.fault} faults` : `${answer.ok} done`;
  if (answer.walk_end === undefined) return 'done';
  return `${answer.ret} region${answer.ret === 1 ? '' : 's'}, walk_end at page ${pageOf(Number(answer.walk_end))}`;
}
