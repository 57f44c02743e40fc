// Runs generated scenarios on this process's own memory and, after each operation, compares what the fallback says of it with
// what the ioctl says. Started by test/differential/fallback.test.ts, and by hand:
//   node test/support/providers.mjs KIND FIRST_SEED COUNT
// Prints one JSON object.
import {
  categoryNames,
  FallbackPagemap,
  forEachRegion,
  IoctlPagemap,
  PAGE_IS_HUGE,
  PagemapError,
  ProcessHandle,
  RegionBuffer,
} from '../../dist/index.js';
import { generateScenario, measureProfile } from '../../dist/scenario/index.js';
import { KernelMemory } from '../../dist/scenario/kernel-memory.js';

const [kind, first, count] = process.argv.slice(2);
// Scenarios use what this kernel has.
const { profile } = await measureProfile();
const ioctl = new IoctlPagemap(new ProcessHandle(process.pid));
const fallback = new FallbackPagemap(new ProcessHandle(process.pid));
const known = fallback.categories & ioctl.categories;
const output = new RegionBuffer(65536);

const result = { scenarios: 0, looks: 0, scans: 0, hugeRefused: 0, regions: 0, different: undefined };

/** All runs of pages of a range with their categories, as text. */
function look(pagemap, start, end, categories) {
  const lines = [];
  forEachRegion(pagemap, { start, end, returnMask: categories }, (from, to, found) => {
    lines.push(`${from.toString(16)}-${to.toString(16)} ${categoryNames(found)}`);
  });
  return lines;
}

/** One call, as text. */
function scan(pagemap, request, withOutput) {
  try {
    const { regions, walkEnd } = pagemap.scan(request, withOutput ? output : null);
    return `${regions} ${walkEnd.toString(16)} ${[...output].slice(0, regions).map(({ start, end, categories }) => `${start.toString(16)}-${end.toString(16)} ${categories}`)}`;
  } catch (error) {
    if (!(error instanceof PagemapError)) throw error;
    if (error.code === 'EOPNOTSUPP') return 'refused';
    return `${error.code} ${error.walkEnd?.toString(16)}`;
  }
}

const u64 = (value) => (typeof value === 'number' ? value : BigInt(value));

function different(scenario, step, what, one, other) {
  result.different ??= {
    scenario: scenario.name,
    step,
    op: scenario.steps[step].op,
    what,
    ioctl: one,
    fallback: other,
  };
}

function compareAll(scenario, step) {
  const end = scenario.arena + scenario.arenaPages * 4096;
  let categories = known;
  let seen;
  try {
    seen = look(fallback, scenario.arena, end, categories);
  } catch (error) {
    // Which of several pages are huge cannot always be told, nor whether one is that is not there.
    if (!(error instanceof PagemapError) || error.code !== 'EOPNOTSUPP') throw error;
    result.hugeRefused++;
    categories &= ~PAGE_IS_HUGE;
    // Nor where a userfaultfd has put markers, in hugetlb memory.
    if (error.message.includes('swapped')) return;
    try {
      seen = look(fallback, scenario.arena, end, categories);
    } catch (again) {
      if (!(again instanceof PagemapError) || !again.message.includes('swapped')) throw again;
      return;
    }
  }
  const truth = look(ioctl, scenario.arena, end, categories);
  result.looks++;
  result.regions += truth.length;
  const at = truth.findIndex((line, index) => line !== seen[index]);
  if (at >= 0 || seen.length !== truth.length) {
    different(
      scenario,
      step,
      'pages',
      truth.slice(Math.max(at, 0), at + 3),
      seen.slice(Math.max(at, 0), at + 3),
    );
  }
}

function compareScan(scenario, step) {
  const { op } = scenario.steps[step];
  if (op.flags !== 0) return;
  const cut = (mask) => (typeof mask === 'number' && mask >= 0 && mask <= 0x1ff ? mask & known : u64(mask));
  const request = {
    start: u64(op.start),
    end: u64(op.end),
    maxPages: u64(op.max_pages),
    categoryInverted: cut(op.inverted),
    categoryMask: cut(op.mask),
    categoryAnyofMask: cut(op.anyof),
    returnMask: cut(op.return),
    override: { size: u64(op.size), vecLen: u64(op.vec_len) },
  };
  const seen = scan(fallback, request, op.vec);
  if (seen === 'refused') {
    result.hugeRefused++;
    return;
  }
  const truth = scan(ioctl, request, op.vec);
  result.scans++;
  if (seen !== truth) different(scenario, step, 'scan', truth, seen);
}

for (
  let seed = Number(first);
  seed < Number(first) + Number(count) && result.different === undefined;
  seed++
) {
  const scenario = generateScenario(kind, seed, profile);
  const memory = new KernelMemory(scenario);
  for (let step = 0; step < scenario.steps.length && result.different === undefined; step++) {
    const { op } = scenario.steps[step];
    memory.apply(op);
    if (op.op === 'scan') compareScan(scenario, step);
    compareAll(scenario, step);
  }
  memory[Symbol.dispose]();
  result.scenarios++;
}
console.log(JSON.stringify(result));
