import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { KERNEL_PROFILES } from '../sim/index.js';
import type { ScenarioBackend } from './backend.js';
import { scenarioKinds } from './generate.js';
import {
  type Answer,
  compareBackends,
  formatMismatch,
  formatScenario,
  generateScenario,
  parseScenarios,
  runScenarios,
  SCENARIO_KINDS,
  ScenarioError,
  SimulatorBackend,
  shrinkScenario,
} from './index.js';
import { SimulatedProcess } from './simulator.js';

const HEADER = '{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":64,"note":"ignored"}';
const MMAP =
  '{"op":"mmap","at":0,"pages":4,"prot":"rw","type":"anon","sharing":"private","expect":{"ret":0}}';

function problem(...lines: string[]): string {
  try {
    parseScenarios(lines.join('\n'), 'file.jsonl');
  } catch (error) {
    if (error instanceof ScenarioError) return `${error.line}: ${error.message}`;
    throw error;
  }
  return '';
}

describe('parsing', () => {
  test('headers, operations, empty lines', () => {
    const scenarios = parseScenarios(`${HEADER}\n\n${MMAP}\n${HEADER}\n`);
    expect(scenarios.map(({ steps }) => steps.length)).toEqual([1, 0]);
    expect(scenarios[0]).toMatchObject({ name: 'a', arena: 0x600000000000, arenaPages: 64 });
    expect(scenarios[0]!.steps[0]).toMatchObject({ line: 3, expect: { ret: 0 }, op: { op: 'mmap', at: 0 } });
  });

  test.each([
    ['not JSON', ['{'], '1: Cannot read file.jsonl:1: not JSON'],
    ['not an object', ['[]'], '1: Cannot read file.jsonl:1: not a JSON object'],
    ['no header', [MMAP], '1: Cannot read file.jsonl:1: an operation before the first header'],
    ['another version', ['{"scenario":2}'], '1: Cannot read file.jsonl:1: version 2 is not known'],
    ['no arena', ['{"scenario":1}'], 'the header lacks "arena"'],
    [
      'unknown operation',
      [HEADER, '{"op":"mlock"}'],
      '2: Cannot read file.jsonl:2: unknown operation "mlock"',
    ],
    ['inherited name', [HEADER, '{"op":"toString"}'], 'unknown operation "toString"'],
    ['missing key', [HEADER, '{"op":"munmap","at":0}'], 'munmap lacks the key "pages"'],
    ['unknown key', [HEADER, '{"op":"munmap","at":0,"pages":1,"x":1}'], 'munmap: unknown key "x"'],
    ['bad value', [HEADER, '{"op":"munmap","at":-1,"pages":1}'], 'munmap: -1 is not possible for "at"'],
    [
      'bad protection',
      [HEADER, '{"op":"mprotect","at":0,"pages":1,"prot":"wr"}'],
      '"wr" is not possible for "prot"',
    ],
    [
      'bad advice',
      [HEADER, '{"op":"madvise","at":0,"pages":1,"advice":"x"}'],
      '"x" is not possible for "advice"',
    ],
    ['step 0', [HEADER, '{"op":"read","at":0,"pages":1,"step":0}'], '0 is not possible for "step"'],
    [
      'a file where none belongs',
      [HEADER, MMAP.replace('}}', '},"file":"f"}').replace('"},', '"},')],
      'mmap: "file" goes with',
    ],
    [
      'unknown key in expect',
      [HEADER, MMAP.replace('"ret"', '"got"')],
      'mmap: unknown key "got" in "expect"',
    ],
  ])('%s', (_, lines, expected) => {
    expect(problem(...lines)).toContain(expected);
  });

  test('what is formatted parses to the same', () => {
    const text = `${HEADER.replace(',"note":"ignored"', '')}\n${MMAP}\n`;
    expect(formatScenario(parseScenarios(text)[0]!)).toBe(text);
  });
});

describe('running', () => {
  const scan = {
    op: 'scan',
    size: 96,
    flags: 0,
    start: '0x600000000000',
    end: '0x600000004000',
    vec: true,
    vec_len: 8,
    max_pages: 0,
    inverted: 0,
    mask: 8,
    anyof: 0,
    return: 8,
  };
  const write = '{"op":"write","at":1,"pages":6,"step":2,"expect":{"ok":2,"fault":1}}';

  test('counts, and no mismatch', async () => {
    const regions = [
      ['0x600000001000', '0x600000002000', 8],
      ['0x600000003000', '0x600000004000', 8],
    ];
    const expected = { ...scan, expect: { ret: 2, walk_end: '0x600000004000', regions } };
    const text = [HEADER, MMAP, write, JSON.stringify(expected)].join('\n');
    const summary = await runScenarios(text, { check: true });
    expect(summary).toMatchObject({ scenarios: 1, ops: 3, scans: 1, mismatches: 0 });
    expect(summary.first).toBeUndefined();
  });

  test('the first mismatch comes with what was expected, what was got, and the entries around it', async () => {
    const wrong = { ...scan, expect: { ret: 1, walk_end: '0x600000004000', regions: [] } };
    const text = [HEADER, MMAP, write, JSON.stringify(wrong)].join('\n');
    const { first, mismatches } = await runScenarios(text, { check: true });
    expect(mismatches).toBe(1);
    expect(first).toMatchObject({ scenario: 'a', step: 2, line: 4, expected: { ret: 1 }, got: { ret: 2 } });
    expect(formatMismatch(first!)).toMatch(
      /a, line 4: .*\n {2}expected .*\n {2}got .*\n {4}page 0 .* pte 0x0/,
    );
  });

  test('clear_refs knows 1 to 5, and reads an int', () => {
    const values = [0, 1, 4, 5, 6, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1];
    const text = [HEADER, ...values.map((value) => JSON.stringify({ op: 'clear_refs', value }))].join('\n');
    const answers = new SimulatorBackend('6.18').run(parseScenarios(text)[0]!);
    const expected = ['EINVAL', undefined, undefined, undefined, 'EINVAL', 'EINVAL', 'ERANGE', 'ERANGE'];
    expect(answers.map(({ errno }) => errno)).toEqual(expected);
  });

  test('a backend that loses the process leaves answers out, which is a mismatch', async () => {
    const backend: ScenarioBackend = { name: 'lost', run: () => [{ ret: 0 }] };
    const text = [HEADER, MMAP, write].join('\n');
    const { first } = await runScenarios(text, { check: true, backend });
    expect(first).toMatchObject({ step: 1, got: undefined });
  });
});

describe('generating', () => {
  test.each(SCENARIO_KINDS)('%s: the same for the same seed, and well-formed', (kind) => {
    const profile = kind === 'softdirty' ? '6.12' : kind === 'rwp' ? '7.3' : '6.18';
    for (let seed = 1; seed <= 20; seed++) {
      const scenario = generateScenario(kind, seed, profile);
      const text = formatScenario(scenario);
      expect(formatScenario(generateScenario(kind, seed, profile))).toBe(text);
      expect(parseScenarios(text)[0]!.steps.map(({ op }) => op)).toEqual(scenario.steps.map(({ op }) => op));
    }
  });
});

describe('scenarios with moves', () => {
  const scenarios = Array.from({ length: 60 }, (_, seed) => generateScenario('moves', seed + 1, '6.18'));

  test('move, and no more than once in a while what the kernel refuses', () => {
    const answers = scenarios.flatMap((scenario) =>
      new SimulatorBackend('6.18')
        .run(scenario)
        .filter((_, index) => scenario.steps[index]!.op.op === 'mremap'),
    );
    const refused = answers.filter(({ errno }) => errno !== undefined);
    expect(answers.length).toBeGreaterThan(300);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused.length).toBeLessThan(answers.length / 2);
  });

  test('never install guard pages where a file is mapped: a move leaves protection behind, which hangs a kernel', () => {
    let installed = 0;
    for (const scenario of scenarios) {
      const process = new SimulatedProcess(scenario, '6.18');
      for (const { op } of scenario.steps) {
        if (op.op === 'madvise' && op.advice === 'guard_install') {
          const start = scenario.arena + op.at * PAGE_SIZE;
          const end = start + op.pages * PAGE_SIZE;
          const mappings = [...process.space.mappings()];
          expect(mappings.some((mapping) => mapping.file && mapping.start < end && mapping.end > start)).toBe(
            false,
          );
          installed++;
        }
        process.apply(op);
      }
    }
    expect(installed).toBeGreaterThan(10);
  });

  test('are for kernels whose mremap is simulated', () => {
    expect(scenarioKinds('6.18')).toContain('moves');
    expect(scenarioKinds('6.12')).not.toContain('moves');
    expect(scenarioKinds({ ...KERNEL_PROFILES['6.18'], hasZeroPage: false })).not.toContain('moves');
  });
});

describe('comparing backends', () => {
  /** The simulator, but scans of more than one page are off by one region. */
  const wrong: ScenarioBackend = {
    name: 'wrong',
    run: (scenario) =>
      new SimulatorBackend('6.18').run(scenario).map((answer, index): Answer => {
        const { op } = scenario.steps[index]!;
        return op.op === 'scan' && answer.ret !== undefined && answer.ret > 0
          ? { ...answer, ret: answer.ret + 1 }
          : answer;
      }),
  };

  test('agreement is undefined, disagreement is shortened', async () => {
    const scenario = generateScenario('anon', 5, '6.18');
    expect(await compareBackends(scenario, '6.18', new SimulatorBackend('6.18'))).toBeUndefined();
    const difference = await compareBackends(scenario, '6.18', wrong);
    expect(difference!.mismatch.op.op).toBe('scan');
    expect(difference!.scenario.steps.length).toBeLessThanOrEqual(3);
    expect(difference!.answers).toHaveLength(difference!.scenario.steps.length);
  });

  test('shrinking keeps just what the failure needs', async () => {
    const scenario = generateScenario('mixed', 3, '6.18');
    const needed = [scenario.steps[4]!, scenario.steps[11]!];
    const shrunk = await shrinkScenario(scenario, ({ steps }) =>
      needed.every((step) => steps.includes(step)),
    );
    expect(shrunk.steps).toEqual(needed);
  });
});
