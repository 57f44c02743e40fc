/** `pmscan watch` on real processes: exact, harmless, and clear about what goes wrong. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { PAGE_IS_SWAPPED, PAGE_SIZE, RegionBuffer } from '../../src/abi/index.js';
import { openPagemap } from '../../src/live/index.js';
import { countPages } from '../../src/query/index.js';
import { finish, MAIN, pmscan, startPmscan } from '../support/cli.js';
import { testWhere } from '../support/needs.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');

const withHugetlb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'hugetlb');

interface Line {
  schema: string;
  elapsedMs: number;
  intervalMs: number;
  scanMs: number;
  writtenPages: number;
  writtenBytes: number;
  untrackedMappings: number;
  mappings: { start: string; end: string; name: string; owner: string | null; writtenPages: number }[];
  regions: { start: string; end: string; pages: number }[];
}

/** `watch --json --regions` on a process, line by line. */
function watching(pid: number, ...options: string[]) {
  const child = startPmscan(['watch', String(pid), '--json', '--regions', ...options]);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  return {
    child,
    async next(): Promise<Line | undefined> {
      const { value, done } = await lines.next();
      return done ? undefined : JSON.parse(value);
    },
    /** Ends it as Ctrl-C does; the rest of its lines. */
    async interrupt(): Promise<{ rest: Line[]; code: number | null; stderr: string }> {
      const closed = once(child, 'close');
      child.kill('SIGINT');
      const rest: Line[] = [];
      for (let line = await this.next(); line !== undefined; line = await this.next()) rest.push(line);
      const [code] = (await closed) as [number | null];
      return { rest, code, stderr };
    },
  };
}

/** Pages of a range that a line reports. */
function pagesIn(line: Line, { start, end }: { start: number; end: number }): number[] {
  const pages: number[] = [];
  for (const region of line.regions) {
    for (
      let at = Math.max(Number(region.start), start);
      at < Math.min(Number(region.end), end);
      at += PAGE_SIZE
    ) {
      pages.push((at - start) / PAGE_SIZE);
    }
  }
  return pages;
}

live('tells whose memory it is: of Node.js, spaces of V8', async () => {
  const script = 'const kept = []; console.log(1); setInterval(() => kept.push(new Array(1000).fill(1)), 5)';
  const node = spawn(process.execPath, ['-e', script]);
  try {
    await once(node.stdout, 'data');
    const { stdout, stderr } = await pmscan([
      'watch',
      node.pid!,
      '--interval',
      '200ms',
      '--duration',
      '600ms',
      '--json',
    ]);
    const lines = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    const owners = lines.flatMap(({ mappings }) => mappings.map(({ owner }) => owner));
    expect(owners).toContain('[v8 new space]');
    // Node's releases call it node, node-MainThread and MainThread.
    expect(owners).toContainEqual(expect.stringMatching(new RegExp(`^\\[stack: \\S+ ${node.pid}\\]$`)));
    expect(stderr).toMatch(/most written: .*\[v8 new space\] [\d.]+ [KM]iB/);
  } finally {
    node.kill('SIGKILL');
    await once(node, 'exit');
  }
});

describe('exactly what was written', () => {
  live.each(['anon', 'shared', 'file', 'thp'])('in each interval, once: %s memory', async (kind) => {
    await using target = await startWrites();
    const range = await target.order(`map 1 ${kind} 1024`);
    await target.order('write 1 0 1024 1');
    const watch = watching(target.pid, '--interval', '50ms');
    // The first line tells that the watch is on.
    expect(pagesIn((await watch.next())!, range)).toEqual([]);
    const expected: number[] = [];
    const seen: number[] = [];
    for (let round = 0; round < 10; round++) {
      const first = (round * 97) % 900;
      await target.order(`write 1 ${first} 12 9`);
      for (let page = 0; page < 12; page++) expected.push(first + page * 9);
      // What is written here comes in this interval or the next one; two lines later it has come.
      for (let lines = 0; lines < 2; lines++) {
        const line = (await watch.next())!;
        expect(line.schema).toBe('pagemap-scan/watch@1');
        expect(line.writtenBytes).toBe(line.writtenPages * PAGE_SIZE);
        expect(line.regions.reduce((sum, { pages }) => sum + pages, 0)).toBe(line.writtenPages);
        expect(line.mappings.reduce((sum, { writtenPages }) => sum + writtenPages, 0)).toBe(
          line.writtenPages,
        );
        seen.push(...pagesIn(line, range));
      }
    }
    await target.order('write 1 1023 1 1');
    const { rest, code, stderr } = await watch.interrupt();
    for (const line of rest) seen.push(...pagesIn(line, range));
    const ascending = (pages: number[]) => [...pages].sort((a, b) => a - b);
    expect(ascending([...new Set(seen)])).toEqual(ascending([...expected, 1023]));
    // A collect that comes between a page fault and its store has the page told once more: see `ProcessTracker.collect`.
    expect(seen.length).toBeLessThanOrEqual(expected.length + 1 + 20 + rest.length);
    expect(code).toBe(130);
    expect(stderr).toMatch(
      /pmscan: \d+ intervals in .*\npmscan: cost to the process: about .*\npmscan: written .*\npmscan: distinct pages/,
    );
    // What is there already, and written once, costs a fault; a huge page costs one in all.
    const faults = Number(/\(([\d,]+) page faults of/.exec(stderr)![1]!.replaceAll(',', ''));
    const least = kind === 'thp' ? 1 : expected.length;
    expect(faults).toBeGreaterThanOrEqual(least);
    if (kind === 'thp') expect(faults).toBeLessThan(512);
  });

  withHugetlb(
    'hugetlb, a grown heap, a moved mapping, a new one in a hole: all in their intervals',
    async () => {
      await using target = await startWrites();
      const hugetlb = await target.order('map 1 hugetlb 2048');
      await target.order('write 1 0 2048 1');
      const heap = await target.order('brk 100');
      await target.order('write 0 0 100 1');
      const before = await target.order('map 2 anon 300');
      await target.order('write 2 0 300 1');
      const watch = watching(target.pid, '--interval', '50ms');
      await watch.next();
      /** The next `count` pages of the range that are reported, however many intervals that takes. */
      const next = async (range: { start: number; end: number }, count: number) => {
        const found = new Set<number>();
        const look = async () => {
          for (const page of pagesIn((await watch.next())!, range)) found.add(page);
        };
        while (found.size < count) await look();
        // A page that is told once more comes in the very next interval: see `ProcessTracker.collect`.
        await look();
        return [...found].sort((a, b) => a - b);
      };
      const pages = (count: number, first: number) =>
        Array.from({ length: count }, (_, index) => first + index);

      await target.order('write 1 700 1 1');
      expect(await next(hugetlb, 512)).toEqual(pages(512, 512));
      await target.order('write 0 20 3 1');
      expect(await next(heap, 3)).toEqual([20, 21, 22]);
      const grown = await target.order('brk 200');
      await target.order('write 0 50 3 1');
      expect(await next(grown, 3)).toEqual([50, 51, 52]);
      const moved = await target.order('move 2 300');
      expect(await next(moved, 300)).toEqual(pages(300, 0));
      await target.order('write 2 7 2 1');
      expect(await next(moved, 2)).toEqual([7, 8]);
      const fresh = await target.order('map 3 shared 64');
      await target.order('write 3 60 4 1');
      expect(await next(fresh, 4)).toEqual([60, 61, 62, 63]);
      const { rest, code } = await watch.interrupt();
      for (const range of [hugetlb, heap, grown, before, moved, fresh]) {
        expect(rest.flatMap((line) => pagesIn(line, range))).toEqual([]);
      }
      expect(code).toBe(130);
    },
  );

  live('new mappings count from birth', async () => {
    await using target = await startWrites();
    const watch = watching(target.pid, '--interval', '50ms');
    await watch.next();
    const range = await target.order('map 1 anon 64');
    await target.order('write 1 0 64 1');
    const { rest } = await watch.interrupt();
    expect(new Set(rest.flatMap((line) => pagesIn(line, range))).size).toBe(64);
  });
});

describe('harmless', () => {
  live('whatever ends the watch, nothing is left of it', async () => {
    await using target = await startWrites();
    const range = await target.order('map 1 anon 64');
    await target.order('write 1 0 64 1');
    const leftovers = () => {
      using pagemap = openPagemap(target.pid);
      const output = new RegionBuffer(8);
      // Category WPALLOWED: registered with somebody's userfaultfd.
      const { regions } = pagemap.scan({ ...range, categoryMask: 1, returnMask: 1 }, output);
      return [regions, /^TracerPid:\t0$/m.test(readFileSync(`/proc/${target.pid}/status`, 'utf8'))];
    };
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGKILL'] as const) {
      const child = startPmscan(['watch', String(target.pid), '--json', '--interval', '20ms']);
      await once(child.stdout, 'readable');
      expect(leftovers()).toEqual([1, true]);
      child.kill(signal);
      await finish(child);
      expect([signal, ...leftovers()]).toEqual([signal, 0, true]);
    }
    expect(await target.order('write 1 0 64 1')).toBeDefined();
  });
});

describe('seen by others', () => {
  live('shared memory that is tracked is not swapped out', async () => {
    await using target = await startWrites();
    const { start } = await target.order('map 1 memfd 64');
    await target.order('write 1 0 3 1');
    const row = async () => {
      const { stdout } = await pmscan(['maps', target.pid, '--json']);
      const { mappings } = JSON.parse(stdout) as {
        mappings: { start: string; present: number; swapped: number }[];
      };
      return mappings.find((mapping) => Number(mapping.start) === start);
    };
    const before = await row();
    expect(before).toMatchObject({ present: 3, swapped: 0 });
    const watch = watching(target.pid, '--interval', '20ms');
    await watch.next();
    using pagemap = openPagemap(target.pid);
    const marked = { start, end: start + 64 * PAGE_SIZE, categoryMask: PAGE_IS_SWAPPED };
    expect(countPages(pagemap, marked)).toBe(61);
    expect(await row()).toEqual(before);
    await watch.interrupt();
  });

  live('a second watch says what it cannot track', async () => {
    await using target = await startWrites();
    await target.order('map 1 anon 64');
    const first = watching(target.pid, '--interval', '20ms');
    expect(await first.next()).toMatchObject({ untrackedMappings: 0 });
    const second = watching(target.pid, '--interval', '20ms');
    const line = await second.next();
    expect(line!.untrackedMappings).toBeGreaterThan(0);
    const { stderr } = await second.interrupt();
    expect(stderr).toMatch(/^pmscan: \d+ writable mappings cannot be tracked/);
    await first.interrupt();
  });
});

/** Until the command that is run under a watch is tracked: its memory is registered with a userfaultfd then. */
async function untilTracked(watch: number): Promise<void> {
  await until('a tracked child', () => {
    const [child] = readFileSync(`/proc/${watch}/task/${watch}/children`, 'utf8').split(' ');
    return (
      child !== undefined &&
      child !== '' &&
      /^VmFlags:.* uw\b/m.test(readFileSync(`/proc/${child}/smaps`, 'utf8'))
    );
  });
}

describe('how it ends', () => {
  live('after its duration', async () => {
    await using target = await startWrites();
    const { code, stdout, stderr } = await pmscan([
      'watch',
      target.pid,
      '--interval',
      '20ms',
      '--duration',
      '100ms',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ +\d+\.\d s +.*\/s +[\d,]+ pages {2}scan \d+\.\d ms/);
    expect(stderr).toMatch(/intervals? in \d+\.\d s/);
  });

  live('with the process', async () => {
    const target = await startWrites();
    const watch = watching(target.pid, '--interval', '20ms');
    await watch.next();
    await target[Symbol.asyncDispose]();
    const [code] = (await once(watch.child, 'close')) as [number];
    expect(code).toBe(0);
  });

  live('with one that is over before the first interval', async () => {
    const child = spawn(process.execPath, [MAIN, 'watch', '--interval', '1h', '--', 'cat']);
    const finished = finish(child);
    await untilTracked(child.pid!);
    child.stdin.end();
    const { code, stdout, stderr } = await finished;
    expect([code, stdout]).toEqual([3, '']);
    expect(stderr).toMatch(/within the first interval, 3600 s; give a shorter interval/);
  });

  live('of a command that it runs itself: its output goes to standard error', async () => {
    const child = spawn(process.execPath, [
      MAIN,
      'watch',
      '--json',
      '--interval',
      '50ms',
      '--',
      'sh',
      '-c',
      'echo hello; read line',
    ]);
    const finished = finish(child);
    await once(child.stdout, 'data');
    child.stdin.end();
    const { code, stdout, stderr } = await finished;
    expect(code).toBe(0);
    expect(stderr).toMatch(/^hello\n/);
    expect(stderr).toContain('has ended');
    for (const line of stdout.trim().split('\n'))
      expect(JSON.parse(line).schema).toBe('pagemap-scan/watch@1');
  });

  live.each([
    [['sh', '-c', 'read line; exit 7'], 'sh ended with exit code 7\n'],
    [['sh', '-c', 'read line; kill -KILL $$'], 'sh was ended by SIGKILL\n'],
    // Giving back so much memory takes a while.
    [
      [
        'perl',
        '-e',
        'my $kept = "x" x (400 << 20); $| = 1; print "ready\\n"; <STDIN>; require POSIX; POSIX::_exit(7)',
      ],
      'perl ended with exit code 7\n',
    ],
  ])('and how the command ended: %j', async (command, told) => {
    const child = spawn(process.execPath, [MAIN, 'watch', '--interval', '20ms', '--', ...command]);
    const finished = finish(child);
    await once(child.stdout, 'data');
    child.stdin.end();
    const { code, stderr } = await finished;
    expect([code, stderr]).toEqual([0, expect.stringContaining(`pmscan: ${told}`)]);
  });

  live('and ends a command that it started', async () => {
    const { code, stderr } = await pmscan([
      'watch',
      '--duration',
      '50ms',
      '--interval',
      '20ms',
      '--',
      'sleep',
      '1000',
    ]);
    expect(code).toBe(0);
    expect(stderr).toContain('interval');
    // That it was ended by us is no news.
    expect(stderr).not.toContain('sleep');
  });
});

describe('asked to end by others than Ctrl-C', () => {
  live.each(['SIGTERM', 'SIGHUP'] as const)('%s: with a summary, and the command with it', async (signal) => {
    const child = startPmscan([
      'watch',
      '--json',
      '--interval',
      '20ms',
      '--',
      'sh',
      '-c',
      // It ends with its input, which stays open.
      'echo $$; read line',
    ]);
    const stderr = createInterface({ input: child.stderr })[Symbol.asyncIterator]();
    const pid = Number((await stderr.next()).value);
    await once(child.stdout, 'readable');
    const closed = once(child, 'close');
    child.kill(signal);
    child.stdout.resume();
    const said: string[] = [];
    for (let line = await stderr.next(); !line.done; line = await stderr.next()) said.push(line.value);
    expect(await closed).toEqual([130, null]);
    expect(said.join('\n')).toMatch(/intervals? in \d+\.\d s/);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
  });
});

describe('what goes wrong', () => {
  test.each([
    { args: ['watch'], code: 2, says: 'give a process' },
    { args: ['watch', '1', '--', 'true'], code: 2, says: 'give a process' },
    { args: ['watch', '1', '--interval', '0'], code: 2, says: 'Give a time' },
    { args: ['watch', '1', '--duration', 'soon'], code: 2, says: 'Give a time' },
  ])('$args', async ({ args, code, says }) => {
    const run = await pmscan(args);
    expect([run.code, run.stdout]).toEqual([code, '']);
    expect(run.stderr).toContain(says);
  });

  live.each([
    { args: ['watch', '999999999'], code: 3, says: 'no such process' },
    { args: ['watch', '--', 'no-such-command'], code: 1, says: 'there is no such command' },
    { args: ['watch', '--', 'true'], code: 3, says: 'within the first interval' },
  ])('$args', async ({ args, code, says }) => {
    const run = await pmscan(args);
    expect([run.code, run.stdout]).toEqual([code, '']);
    expect(run.stderr).toContain(says);
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'root',
  )('a command that is nowhere, with a folder in PATH that may not be searched', async () => {
    const hidden = mkdtempSync(join(tmpdir(), 'pagemap-scan-hidden-'));
    try {
      const env = { PATH: `${hidden}:${process.env['PATH']}` };
      const run = await pmscan(['watch', '--', 'no-such-command'], { uid: 65534, env });
      expect(run.code).toBe(1);
      expect(run.stderr).toBe('pmscan: Cannot run no-such-command: there is no such command\n');
    } finally {
      rmSync(hidden, { recursive: true });
    }
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'kernel-threads',
  )('a kernel thread', async () => {
    const { code, stdout, stderr } = await pmscan(['watch', '2']);
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('kernel thread');
  });

  live('a kernel without the ioctl: the process is not touched', async () => {
    await using target = await startWrites();
    const { code, stderr } = await pmscan(['watch', target.pid], { env: { PMSCAN_DISABLE_IOCTL: '1' } });
    expect(code).toBe(5);
    expect(stderr).toContain('Linux 6.7');
  });
});
