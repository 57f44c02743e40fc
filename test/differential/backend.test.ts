/** How the kernel backend runs scenarios; what they give is in kernel.test.ts. */
import { describe, expect } from 'vitest';
import {
  type Answer,
  KernelBackend,
  KernelHangError,
  parseScenarios,
  SimulatorBackend,
} from '../../src/scenario/index.js';
import { testWhere } from '../support/needs.js';

const live = testWhere('pagemap-scan');

/** Maps four pages and writes to `pages`: how many go through says whose answers these are. */
function scenario(name: string, pages: number) {
  const [parsed] = parseScenarios(`{"scenario":1,"name":"${name}","arena":"0x600000000000","arena_pages":16}
{"op":"mmap","at":0,"pages":4,"type":"anon","sharing":"private","prot":"rw"}
{"op":"write","at":0,"pages":${pages},"step":1}
{"op":"clear_refs","value":6}`);
  return parsed!;
}

const answersOf = (pages: number): Answer[] => [
  { ret: 0 },
  { ok: Math.min(pages, 4), fault: Math.max(0, pages - 4) },
  { errno: 'EINVAL' },
];

describe('the kernel backend', () => {
  for (const scenariosPerProcess of [1, 2, 100]) {
    live(`runs at once wait for each other, with ${scenariosPerProcess} in a process`, async () => {
      using backend = new KernelBackend({ scenariosPerProcess });
      const counts = [1, 9, 3, 16, 4];
      const runs = counts.map((pages) => backend.run(scenario(`${pages}`, pages)));
      expect(await Promise.all(runs)).toEqual(counts.map(answersOf));
    });
  }

  live('what clear_refs does not know is refused as by the simulator', async () => {
    using backend = new KernelBackend();
    const values = [0, 1, 2, 3, 4, 5, 6, 7, 100, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + 4, 2 ** 53 - 1];
    const ops = values.map((value) => JSON.stringify({ op: 'clear_refs', value }));
    const header = '{"scenario":1,"name":"refs","arena":"0x600000000000","arena_pages":16}';
    const [refs] = parseScenarios([header, ...ops].join('\n'));
    const answers = new SimulatorBackend().run(refs!);
    expect(answers.filter(({ ret }) => ret === 0)).toHaveLength(5);
    expect(await backend.run(refs!)).toEqual(answers);
  });

  live('a run that is lost is none of the next one', async () => {
    // No process starts in no time; the next run has as long.
    using hasty = new KernelBackend({ timeoutMs: 0 });
    const runs = await Promise.allSettled([hasty.run(scenario('a', 1)), hasty.run(scenario('b', 1))]);
    expect(runs).toMatchObject([
      { reason: expect.objectContaining({ message: 'Cannot finish a: operation 0 took more than 0 ms' }) },
      { reason: expect.objectContaining({ message: 'Cannot finish b: operation 0 took more than 0 ms' }) },
    ]);
  });

  live('runs that wait are rejected when the backend is disposed of', async () => {
    const backend = new KernelBackend({ scenariosPerProcess: 2 });
    const first = backend.run(scenario('first', 1));
    const second = backend.run(scenario('second', 1));
    expect(await first).toEqual(answersOf(1));
    backend[Symbol.dispose]();
    await expect(second).rejects.toBeInstanceOf(KernelHangError);
    await expect(backend.run(scenario('third', 1))).rejects.toThrow('the backend was disposed of');
  });
});
