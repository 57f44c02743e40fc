/**
 * Every way in which a process can go away, before, between and during calls, on kernels that say so and on those that find
 * nothing: always the same error.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, vi } from 'vitest';
import {
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_SIZE,
  type Region,
  RegionBuffer,
} from '../../src/abi/index.js';
import { mapsCommand } from '../../src/cli/commands/maps.js';
import { scanCommand } from '../../src/cli/commands/scan.js';
import { EXIT, type ExitCode, exitCodeOf } from '../../src/cli/exit.js';
import { mergeRanges } from '../../src/cli/options.js';
import { dumpCore } from '../../src/core/index.js';
import {
  FallbackPagemap,
  IoctlPagemap,
  isEnded,
  type LivePagemap,
  mappingPageSize,
  mappingsCover,
  ProcessError,
  ProcessHandle,
  type Provider,
  stopProcess,
  userSpaceEnd,
} from '../../src/live/internal.js';
import { regions } from '../../src/query/index.js';
import { takeLayout } from '../../src/record/layout.js';
import { type ProcessTracker, trackByProtection } from '../../src/track/internal.js';
import { ProcessLayout } from '../../src/web/layout.js';
import { type Answer, kernel, replaceKernel, startDoomed, starting, type Way } from '../support/gone.js';
import { testWhere } from '../support/needs.js';
import { startTarget, type Target } from '../support/target.js';

beforeAll(replaceKernel);
beforeAll(starting.begin);
afterAll(starting.end);

const ANSWERS: readonly Answer[] = ['ESRCH', 'nothing'];
const WAYS: readonly Way[] = ['zombie', 'reaped', 'exec'];
const PROVIDERS: readonly Provider[] = ['ioctl', 'fallback'];
const CASES = ANSWERS.flatMap((answer) =>
  PROVIDERS.flatMap((provider) => WAYS.map((way) => ({ answer, provider, way }))),
);

function openBy(provider: Provider, pid: number): LivePagemap {
  const handle = new ProcessHandle(pid);
  try {
    return provider === 'ioctl' ? new IoctlPagemap(handle) : new FallbackPagemap(handle);
  } catch (error) {
    handle[Symbol.dispose]();
    throw error;
  }
}

async function problemOf(work: () => unknown): Promise<ProcessError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof ProcessError) return error;
    throw error;
  }
}

const everything = { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT };
const replaced = 'the process has replaced its program (exec)';
const hintOf = (way: Way) => (way === 'exec' ? replaced : 'the process has ended');

/** All that is to be had of a process, as a command would. */
function lookAt(pagemap: LivePagemap): void {
  const before = pagemap.mappings();
  const present = [...regions(pagemap, everything, { buffer: new RegionBuffer(4) })];
  // A program that has just begun maps more.
  const mapped = mergeRanges([...before, ...pagemap.mappings()]);
  pagemap.checkAlive();
  // Of one program the mappings, and of another one the pages?
  const isMapped = (found: Region) =>
    mapped.some(({ start, end }) => start <= found.start && end >= found.end);
  expect([present.length > 0, present.every(isMapped)]).toEqual([true, true]);
}

/** Where a trial takes long, only every so manyth call is tried; with GONE_ALL in the environment, all are. */
const STEPS = process.env['GONE_ALL'] ? { writes: 1, core: 1 } : { writes: 6, core: 23 };

interface Trial<T> {
  /** What is done beforehand. */
  readonly prepare?: (pid: number) => T | Promise<T>;
  readonly work: (subject: T, pid: number) => unknown;
}

/**
 * Does the same again and again, on a process that goes away before the first call, before the second one, and so on up to the
 * last.
 *
 * @returns what came of each, and how many calls there were
 */
async function beforeEachCall<T>(
  { answer, way }: { answer: Answer; way: Way },
  { prepare, work }: Trial<T>,
  step = 1,
): Promise<(ProcessError | undefined)[]> {
  kernel.answer = answer;
  const outcomes: (ProcessError | undefined)[] = [];
  for (let at = 1; ; at += step) {
    await using doomed = await startDoomed(way);
    const subject = (await prepare?.(doomed.pid)) as T;
    kernel.arm(at, doomed.end);
    try {
      const outcome = await problemOf(() => work(subject, doomed.pid));
      if (!kernel.hasHappened) return outcomes;
      outcomes.push(outcome);
    } finally {
      kernel.disarm();
      (subject as Partial<Disposable> | undefined)?.[Symbol.dispose]?.();
    }
  }
}

/** Before it is opened the process is not there, or is another one. From then on it has ended, up to the very last call. */
function checkOutcomes(outcomes: readonly (ProcessError | undefined)[], way: Way): void {
  const reasons = outcomes.map((problem) => problem?.reason);
  const before = { zombie: 'zombie', reaped: 'not-found', exec: undefined }[way];
  const opened = reasons.indexOf('ended');
  expect(opened).toBeGreaterThanOrEqual(0);
  expect(reasons).toEqual(reasons.map((_, index) => (index < opened ? before : 'ended')));
  for (const problem of outcomes.slice(opened)) expect(problem!.hint).toBe(hintOf(way));
}

const live = testWhere('pagemap-scan');

describe('an open address space that is gone', () => {
  live.each(CASES)('$provider, $way, by a kernel that says $answer', async ({ provider, way, answer }) => {
    kernel.answer = answer;
    await using doomed = await startDoomed(way);
    using pagemap = openBy(provider, doomed.pid);
    lookAt(pagemap);
    expect(pagemap.ended).toBe(false);
    const inIts = pagemap.mappings()[0]!;
    doomed.end();

    expect(pagemap.ended).toBe(true);
    const ended = { reason: 'ended', code: 'ESRCH', pid: doomed.pid, hint: hintOf(way) };
    expect(await problemOf(() => pagemap.checkAlive())).toMatchObject(ended);
    expect(await problemOf(() => lookAt(pagemap))).toMatchObject(ended);
    expect(pagemap.readWords(inIts.start, new Uint32Array(8))).toBe(0);
    let found = -1;
    const scan = await problemOf(() => {
      found = pagemap.scan({ ...inIts, returnMask: PAGE_IS_PRESENT }, new RegionBuffer(8)).regions;
    });
    if (provider === 'ioctl' && answer === 'nothing') expect(found).toBe(0);
    else expect(scan).toMatchObject(ended);

    const { process: handle } = pagemap;
    const asks = [
      () => pagemap.mappings(),
      () => handle.read('smaps'),
      () => mappingPageSize(handle, inIts.start, inIts.end),
      () => mappingsCover(handle, inIts.start, inIts.end),
    ];
    // What the number stands for by now, if it does.
    for (const ask of asks) expect((await problemOf(ask))?.reason).toBe(way === 'exec' ? undefined : 'ended');
    expect((await problemOf(() => openBy(provider, doomed.pid)[Symbol.dispose]()))?.reason).toBe(
      { zombie: 'zombie', reaped: 'not-found', exec: undefined }[way],
    );
  });

  live('a process that was never there, and one that lost its folder', async () => {
    await using doomed = await startDoomed('reaped');
    using handle = new ProcessHandle(doomed.pid);
    doomed.end();
    for (const answer of ANSWERS) {
      kernel.answer = answer;
      expect(await problemOf(() => new ProcessHandle(doomed.pid))).toMatchObject({ reason: 'not-found' });
      expect(await problemOf(() => handle.openPagemap())).toMatchObject({ reason: 'ended' });
      expect(await problemOf(() => handle.read('maps'))).toMatchObject({ reason: 'ended' });
    }
  });
});

describe('threads', () => {
  const HOW = ANSWERS.flatMap((answer) => PROVIDERS.map((provider) => ({ answer, provider })));
  const compiled = testWhere('pagemap-scan', 'compiler');
  const stateOf = (pid: number) => /^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];

  async function untilLeaderless({ pid }: Target): Promise<void> {
    while (stateOf(pid) !== 'Z') await new Promise((resolve) => setTimeout(resolve, 1));
  }

  compiled.each(HOW)(
    'the main one has ended, others have not: $provider, $answer',
    async ({ provider, answer }) => {
      kernel.answer = answer;
      await using target = await startTarget('leaderless', [], { flags: ['-pthread'] });
      await untilLeaderless(target);
      using pagemap = openBy(provider, target.pid);
      lookAt(pagemap);
      expect(pagemap.ended).toBe(false);
      expect(pagemap.process.commandLine()).toMatch(/leaderless$/);
      const { start, end } = pagemap.mappings()[0]!;
      expect(mappingsCover(pagemap.process, start, end)).toBe(true);
      target.child.kill('SIGKILL');
      while (!pagemap.ended) await new Promise((resolve) => setTimeout(resolve, 1));
      const ended = { reason: 'ended', hint: 'the process has ended' };
      for (const ask of [() => lookAt(pagemap), () => pagemap.checkAlive(), () => pagemap.mappings()])
        expect(await problemOf(ask)).toMatchObject(ended);
    },
  );

  compiled.each(HOW)(
    'the main one ends between two calls: $provider, $answer',
    async ({ provider, answer }) => {
      kernel.answer = answer;
      await using target = await startTarget('leaderless', ['wait'], { flags: ['-pthread'] });
      using pagemap = openBy(provider, target.pid);
      lookAt(pagemap);
      target.child.stdin.write('x');
      await untilLeaderless(target);
      lookAt(pagemap);
      const { start, end } = pagemap.mappings()[0]!;
      expect(mappingPageSize(pagemap.process, start, end)).toBe(PAGE_SIZE);
    },
  );

  testWhere('pagemap-scan', 'ptrace')(
    'one that is killed while it stands still does not stay a zombie',
    async () => {
      await using doomed = await startDoomed('reaped');
      using handle = new ProcessHandle(doomed.pid);
      {
        using stopped = stopProcess(handle);
        expect(stopped.tids).toEqual([doomed.pid]);
        doomed.end();
      }
      // Its parent hears of it once its tracer has, which is this program, and goes on.
      while (existsSync(`/proc/${doomed.pid}`)) await new Promise((resolve) => setTimeout(resolve, 1));
    },
  );
});

describe('a process that goes away during a call', () => {
  testWhere('pagemap-scan', 'compiler').each(PROVIDERS)(
    '%s: less than all that there is only where the process is said to have ended',
    async (provider) => {
      const pages = 100_000;
      await using target = await startTarget('target', [pages]);
      using pagemap = openBy(provider, target.pid);
      const buffer = new RegionBuffer(pages);
      const { start, end } = target;
      // In memory or swapped out, whichever the machine likes better just now.
      const request = { start, end, categoryAnyofMask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED };
      const whole = pagemap.scan(request, buffer).regions;
      expect(whole).toBeGreaterThan(pages / 4);
      const killer = spawn('sh', ['-c', `sleep 0.2; kill -KILL ${target.pid}`]);
      const exited = once(killer, 'exit');
      let found: number | string;
      for (let isOver = false; !isOver; ) {
        try {
          found = pagemap.scan(request, buffer).regions;
        } catch (error) {
          if (!isEnded(error)) throw error;
          found = error.reason;
        }
        // Asked after the scan: a call that is under way may find a part of what goes away meanwhile.
        isOver = pagemap.ended;
        if (!isOver) expect(found).toBe(whole);
      }
      await exited;
    },
  );
});

describe('a process that goes away before any one of the calls', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-gone-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  live.each(CASES)('pages, by $provider: $way, $answer', async ({ provider, way, answer }) => {
    const outcomes = await beforeEachCall(
      { answer, way },
      {
        work(_, pid) {
          using pagemap = openBy(provider, pid);
          lookAt(pagemap);
        },
      },
    );
    expect(outcomes.length).toBeGreaterThan(8);
    checkOutcomes(outcomes, way);
  });

  const BY_IOCTL = CASES.filter(({ provider, way }) => provider === 'ioctl' && way !== 'zombie');

  live.each(BY_IOCTL)('looks of the page and of recordings: $way, $answer', async (how) => {
    const looks: ((pagemap: LivePagemap) => Promise<unknown>)[] = [
      (pagemap) => new ProcessLayout(pagemap).look(() => true),
      (pagemap) => takeLayout(pagemap, true),
    ];
    for (const look of looks) {
      const outcomes = await beforeEachCall(how, { prepare: (pid) => openBy(how.provider, pid), work: look });
      expect(outcomes.length).toBeGreaterThan(2);
      checkOutcomes(outcomes, how.way);
    }
  });

  testWhere('pagemap-scan', 'wp-async', 'ptrace').each(BY_IOCTL)(
    'the writes of an interval: $way, $answer',
    async (how) => {
      const trial: Trial<ProcessTracker> = {
        prepare: trackByProtection,
        work: (tracker) => {
          expect(tracker.collect().mappings.length).toBeGreaterThan(3);
        },
      };
      const outcomes = await beforeEachCall(how, trial, STEPS.writes);
      expect(outcomes.length).toBeGreaterThan(8 / STEPS.writes);
      checkOutcomes(outcomes, how.way);
    },
  );

  /** What a command writes, its exit code, and its message. */
  async function run(
    command: () => Promise<ExitCode>,
  ): Promise<[text: string, code: ExitCode, message: string]> {
    let text = '';
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      text += chunk;
      return true;
    });
    try {
      const code = await command();
      return [text, code, ''];
    } catch (error) {
      return [text, exitCodeOf(error), (error as Error).message];
    } finally {
      write.mockRestore();
    }
  }

  const COMMANDS = CASES.filter(({ provider, answer }) => provider === 'ioctl' || answer === 'ESRCH');

  live.each(COMMANDS)(
    'pmscan scan and maps, by $provider: $way, $answer',
    async ({ provider, way, answer }) => {
      vi.stubEnv('PMSCAN_PROVIDER', provider);
      const why = way === 'exec' ? /replaced its program/ : /has ended|it has exited|no such process/;
      const commands: [work: (pid: number) => Promise<ExitCode>, codes: ExitCode[]][] = [
        [
          (pid) => scanCommand(String(pid), { where: 'present', json: true }),
          [EXIT.done, EXIT.failed, EXIT.noProcess],
        ],
        [(pid) => mapsCommand(String(pid), { json: true }), [EXIT.done, EXIT.noProcess]],
      ];
      for (const [command, codes] of commands) {
        const seen = new Set<ExitCode>();
        const work = async (_: unknown, pid: number) => {
          const [text, code, message] = await run(() => command(pid));
          seen.add(code);
          if (code !== EXIT.done) expect(message).toMatch(why);
          if (code === EXIT.noProcess) expect(text).toBe('');
          else expect(JSON.parse(text).incomplete).toBe(code === EXIT.done ? undefined : 'the process ended');
        };
        await beforeEachCall({ answer, way }, { work });
        expect(codes).toEqual(expect.arrayContaining([...seen]));
        expect([...seen]).toEqual(expect.arrayContaining([EXIT.done, EXIT.noProcess]));
      }
    },
  );

  // Not a child of this program: its exit would be told to the tracer, which is this program, too.
  testWhere('pagemap-scan', 'ptrace').each(ANSWERS)(
    'a core dump by a kernel that says %s',
    async (answer) => {
      const file = join(folder, 'core');
      const trial: Trial<undefined> = { work: (_, pid) => dumpCore(pid, { file, stop: true }) };
      const outcomes = await beforeEachCall({ answer, way: 'reaped' }, trial, STEPS.core);
      const reasons = outcomes.map((problem) => problem?.reason);
      const opened = reasons.indexOf('ended');
      // Once all has been taken from it, it may go; how many calls there are up to then, waiting decides.
      const taken = reasons.includes(undefined) ? reasons.indexOf(undefined) : reasons.length;
      expect(taken - opened).toBeGreaterThan(100 / STEPS.core);
      expect(reasons.slice(0, taken)).toEqual(
        reasons.slice(0, taken).map((_, index) => (index < opened ? 'not-found' : 'ended')),
      );
      expect(['ended', undefined]).toEqual(expect.arrayContaining(reasons.slice(taken)));
      expect(existsSync(file)).toBe(true);
    },
  );
});
