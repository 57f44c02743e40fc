/** Core files of running processes: exact to the byte, readable by debuggers, and harmless to the process. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  createWriteStream,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dumpCore } from '../../src/core/hooks.js';
import type { CoreOptions } from '../../src/core/index.js';
import { bufferAddress, ProcessHandle, ProcessMemory } from '../../src/live/internal.js';
import { trackProcess } from '../../src/track/index.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { openDescriptors } from '../support/descriptors.js';
import { leftovers } from '../support/kills.mjs';
import { modulesByGdb, modulesIn } from '../support/modules.js';
import { nativeProgram } from '../support/native.js';
import { available, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { CoreReader, findTear, startTorn, type Torn } from '../support/torn.mjs';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const asRoot = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'root');
const withGdb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'gdb');
const withLldb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'lldb');
const withDrgn = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'drgn');
const withElfutils = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'elfutils');

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-core-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'core');

const torn = () => nativeProgram('torn', ['-pthread']);

/** One that hardly does anything, for what is about the command. */
let quiet: Torn;
beforeAll(async () => {
  if (available('compiler')) quiet = await startTorn(torn(), 4, 1, 1000);
});
afterAll(() => quiet?.stop());

const NOTHING_BUT_THE_FOLDER = () =>
  expect(readdirSync(folder).filter((name) => name !== 'core')).toEqual([]);

describe('exact', () => {
  live.each([
    ['writers, others that map, discard and make threads', 20_000, 'dmt', 3],
    ['writers as fast as they go', 0, '', 2],
  ])('no dump is torn: %s', async (_, rate, kinds, dumps) => {
    const target = await startTorn(torn(), 32, 3, rate, kinds);
    try {
      for (let dump = 0; dump < dumps; dump++) {
        await dumpCore(target.pid, { file });
        const core = new CoreReader(file);
        expect(findTear(core, target)).toBeUndefined();
        core.close();
      }
      expect(leftovers(target.pid)).toBeUndefined();
    } finally {
      await target.stop();
    }
  });

  describe('a burst of writes right before the stop', () => {
    const bytes = 32 << 20;
    let mark = 0;
    let stops = 0;
    /** As if by the process itself: each page of 32 MiB. */
    const burst = (target: Torn) => {
      const memory = openSync(`/proc/${target.pid}/mem`, 'r+');
      mark++;
      for (let at = 0; at < bytes; at += 4096)
        writeSync(memory, Uint8Array.of(mark), 0, 1, target.start + at + 100);
      closeSync(memory);
    };
    const marks = (target: Torn) => {
      const core = new CoreReader(file);
      const memory = core.memory(target.start, bytes)!;
      core.close();
      return new Set(Array.from({ length: bytes / 4096 }, (_, page) => memory[page * 4096 + 100]));
    };
    const dump = async (options: Partial<CoreOptions>, most: number) => {
      const target = await startTorn(torn(), 64, 1, 1000);
      stops = 0;
      try {
        await dumpCore(target.pid, {
          file,
          ...options,
          beforeStop: () => {
            if (++stops <= most) burst(target);
          },
        });
        expect(marks(target)).toEqual(new Set([mark]));
      } finally {
        expect(leftovers(target.pid)).toBeUndefined();
        await target.stop();
      }
    };

    live('it is let go and copied meanwhile, then stopped once more', async () => {
      await dump({}, 1);
      expect(stops).toBe(2);
    });

    live('it is not let go for ever', async () => {
      await dump({}, 100);
      expect(stops).toBe(4);
    });

    live('shared memory, of which another round leaves no less, is no reason to let it go', async () => {
      await using target = await startWrites();
      await target.order('map 1 memfd 16384');
      await target.order('write 1 0 16384 1');
      let stopped = 0;
      const beforeStop = () => {
        stopped++;
      };
      await dumpCore(target.pid, { file, beforeStop });
      // Some 30 ms would be needed.
      await expect(dumpCore(target.pid, { file, maxPauseMs: 20, beforeStop })).rejects.toMatchObject({
        code: 'ETIMEDOUT',
      });
      expect(stopped).toBe(2);
    });

    live('a longer pause is taken where that is accepted', async () => {
      await dump({ maxPauseMs: 0, overPause: 'accept' }, 100);
      expect(stops).toBe(4);
    });

    live('a pause that is too long is tried to be avoided, then refused', async () => {
      await dump({ maxPauseMs: 10_000 }, 1);
      expect(stops).toBe(2);
      await expect(dump({ maxPauseMs: 0 }, 100)).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      expect(stops).toBe(4);
    });
  });

  live(
    'what madvise(2) says in the middle is heard: secrets stay out, to the last byte of the file',
    async () => {
      const [dontDump, doDump] = [16, 17];
      await using target = await startWrites();
      const secret = await target.order('map 1 anon 64');
      const open = await target.order('map 2 anon 64');
      await target.order('map 3 anon 64');
      await target.order(`advise 2 ${dontDump}`);
      const memory = openSync(`/proc/${target.pid}/mem`, 'r+');
      const mark = (text: string, start: number) =>
        writeSync(memory, Buffer.from(text), 0, text.length, start + 5 * 4096);
      mark('TOP SECRET', secret.start);
      mark('ORDINARY', open.start);
      closeSync(memory);
      const isOut = ({ start }: { start: number }) => {
        const smaps = readFileSync(`/proc/${target.pid}/smaps`, 'latin1');
        const from = smaps.indexOf(`${start.toString(16)}-`);
        return /\bdd\b/.test(/VmFlags:(.*)/.exec(smaps.slice(from))![1]!);
      };
      let told = false;
      await dumpCore(target.pid, {
        file,
        onProgress: ({ round, copiedBytes, totalBytes }) => {
          if (told || round !== 1 || copiedBytes < totalBytes) return;
          told = true;
          target.child.stdin.write(`advise 1 ${dontDump}\nadvise 2 ${doDump}\n`);
          // Not later than that.
          while (!isOut(secret) || isOut(open));
        },
      });
      expect(told).toBe(true);
      const core = new CoreReader(file);
      const bytes = core.memory(open.start + 5 * 4096, 8);
      expect(bytes?.toString('latin1')).toBe('ORDINARY');
      expect(core.memory(secret.start, 4096)).toBeUndefined();
      core.close();
      expect(readFileSync(file).includes('TOP SECRET')).toBe(false);
    },
  );

  live('what is discarded leaves all else in the file as it is, wherever that stands', async () => {
    const said = openSync(join(folder, 'said'), 'w+');
    const child = spawn(nativeProgram('windows'), { stdio: ['ignore', said, 'inherit'] });
    const clock = new Int32Array(new SharedArrayBuffer(4));
    const waitFor = (bytes: number) => {
      for (let left = 10_000; fstatSync(said).size < bytes; left--) {
        if (left === 0) throw new Error('It does not answer');
        Atomics.wait(clock, 0, 0, 1);
      }
    };
    let step = 0;
    const tell = (signal: 'SIGUSR1' | 'SIGUSR2', when: number) => {
      if (step !== when) return;
      step++;
      child.kill(signal);
      waitFor(step + 1);
    };
    try {
      waitFor(1);
      await dumpCore(child.pid!, {
        file,
        onProgress: () => tell('SIGUSR1', 0),
        beforeStop: () => tell('SIGUSR2', 1),
      });
      expect(step).toBe(2);
      const core = new CoreReader(file);
      const at = (address: number, mebibytes: number) => {
        const bytes = core.memory(address, mebibytes << 20)!;
        const values = Array.from({ length: mebibytes }, (_, index) => bytes[index << 20]);
        expect(values.every((value, index) => bytes[(index << 20) + 0xfffff] === value)).toBe(true);
        return values;
      };
      const [window, mebibyte] = [64 << 20, 1 << 20];
      expect(at(0x200000000000 + window - mebibyte, 1)).toEqual([0]);
      expect(at(0x200000000000 + window, 24)).toEqual([
        ...Array<number>(8).fill(0),
        ...Array<number>(8).fill(1),
        ...Array<number>(8).fill(0),
      ]);
      expect(at(0x300000000000, 16)).toEqual(Array<number>(16).fill(3));
      core.close();
    } finally {
      child.kill();
      closeSync(said);
      rmSync(join(folder, 'said'));
    }
  });

  test('a torn copy would be noticed', async () => {
    const core = { memory: (address: number, length: number) => copy.subarray(address, address + length) };
    const copy = Buffer.alloc(9 * 4096, 1);
    // Own page, then four pairs.
    const numbers = [7, 3, 0, 7, 8, 3, 0, 7, 2];
    const target = { start: 0, end: copy.length, writers: 1, share: 9 } as Torn;
    for (const [page, number] of numbers.entries()) copy.writeBigUInt64LE(BigInt(number), page * 4096);
    expect(findTear(core as unknown as CoreReader, target)).toBeUndefined();
    for (const [page, number, tear] of [
      [1, 4, 'torn'],
      [5, 2, 'torn'],
      [2, 9, 'after the last'],
      [0, 6, 'after the last'],
    ] as const) {
      const before = numbers[page]!;
      copy.writeBigUInt64LE(BigInt(number), page * 4096);
      expect(findTear(core as unknown as CoreReader, target)).toContain(tear);
      copy.writeBigUInt64LE(BigInt(before), page * 4096);
    }
  });

  const HUGE = available('hugetlb') ? 'hugetlb' : 'anon';
  const KINDS = ['anon', 'thp', 'shared', 'memfd', 'file', 'sharedfile', HUGE, 'none'];

  /** Dumps a process with mappings of all kinds, which it changes meanwhile; compares with its memory while it is stopped. */
  async function compareAll(options: Partial<CoreOptions>, asStream = false): Promise<void> {
    const stream = asStream ? createWriteStream(file) : undefined;
    await using writes = await startWrites();
    const slots: string[] = [];
    for (const [index, kind] of [...KINDS, 'anon', 'shared', 'anon', 'anon'].entries()) {
      // Slot 0 is the heap's.
      const slot = index + 1;
      await writes.order(`map ${slot} ${kind} 1024`);
      if (kind !== 'none') await writes.order(`write ${slot} 0 ${kind === 'hugetlb' ? 600 : 300} 1`);
      slots.push(kind);
    }
    await writes.order('read 1 400 100 1');
    await writes.order('swap 9');
    await writes.order('brk 100');
    let changed = false;
    const change = () => {
      if (changed) return;
      changed = true;
      // Between copying and stop: discarded, moved, replaced, taken away, made unreadable, written again.
      const orders = [
        'discard 1 10 50',
        'write 1 20 5 1',
        'discard 5 5 20',
        'discard 3 3 10',
        'write 4 700 10 3',
        'write 2 0 512 1',
        'discard 7 0 512',
        'move 9 1500',
        'write 9 1400 50 1',
        'unmap 10',
        'again 11 anon',
        'write 11 5 3 1',
        'protect 12 none',
        'map 13 anon 200',
        'write 13 0 100 2',
        'kread 1 600 20',
        'protect 6 r',
        'write 0 3 10 5',
        'stack 50',
      ];
      writes.child.stdin.write(`${orders.join('\n')}\n`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
    };
    let compared = 0;
    const memory = new Map<number, Buffer | undefined>();
    const names = new Map<number, string>();
    const { unreadablePages } = await dumpCore(writes.pid, {
      file: stream ?? file,
      filter: 0x7f,
      ...options,
      onProgress: ({ round, copiedBytes, totalBytes }) => {
        if (round === 1 && copiedBytes >= totalBytes) change();
      },
      whileStopped: ({ handle }) => {
        using reader = new ProcessMemory(handle);
        for (const { start, end, name } of handle.mappings()) {
          const bytes = new Uint8Array(new ArrayBuffer(end - start));
          let unreadable = 0;
          reader.read([start, end], bytes, bufferAddress(bytes.buffer), () => unreadable++);
          names.set(start, name);
          memory.set(
            start,
            unreadable > 0 || name.startsWith('[vvar') ? undefined : Buffer.from(bytes.buffer),
          );
        }
      },
    });
    if (stream !== undefined) {
      stream.end();
      await once(stream, 'close');
    }
    expect(changed).toBe(options.stop !== true);
    expect(unreadablePages).toBe(0);
    const core = new CoreReader(file);
    const starts = new Set(core.loads.map(({ address }) => address));
    for (const [start, bytes] of memory) {
      expect(starts.has(start)).toBe(true);
      if (bytes === undefined) continue;
      const dumped = core.memory(start, bytes.length);
      // Without pages, it is not in the file, and then it is all zero.
      if (dumped === undefined)
        expect(
          bytes.every((byte) => byte === 0),
          start.toString(16),
        ).toBe(true);
      else if (!dumped.equals(bytes)) {
        let page = 0;
        while (dumped.subarray(page, page + 4096).equals(bytes.subarray(page, page + 4096))) page += 4096;
        const where = `page ${page / 4096} of ${names.get(start)} at 0x${start.toString(16)}`;
        throw new Error(`${where} has ${dumped.readUInt32LE(page)} instead of ${bytes.readUInt32LE(page)}`);
      }
      compared += dumped?.length ?? 0;
    }
    core.close();
    expect(compared).toBeGreaterThan(12 << 20);
    expect(slots.length).toBe(12);
  }

  asRoot('all kinds of memory are as they were at the stop', async () => {
    await compareAll({});
    NOTHING_BUT_THE_FOLDER();
  });

  asRoot('and if all is copied while it is stopped', () => compareAll({ stop: true }));

  asRoot('and if all is sent at once', () => compareAll({ stop: true }, true));
});

describe('a process whose main thread has ended, while another works on', () => {
  const name = `alone-${process.pid}`.slice(0, 15);
  afterAll(() => rmSync(join(folder, name), { force: true }));
  const start = async () => {
    const program = join(folder, name);
    copyFileSync(nativeProgram('leaderless', ['-pthread']), program);
    const child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    await until('the end of the main thread', () =>
      /^State:\s+Z/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8')),
    );
    return child;
  };

  withGdb.each([false, true])('its core file shows what it does; --stop: %s', async (stop) => {
    const child = await start();
    try {
      const { threads } = await dumpCore(child.pid!, { file, stop });
      expect(threads).toBe(1);
      expect(await gdb([join(folder, name), file], 'bt')).toMatch(/ work [\s\S]* start_thread /);
    } finally {
      child.stdin.end();
      await once(child, 'close');
    }
  });

  live.each([['core', '-o', file], ['watch', '--duration', '200ms'], ['maps'], ['scan', '--max-pages', '3']])(
    '%s finds it, by its number and by its name',
    async (command, ...more) => {
      const child = await start();
      try {
        for (const target of [child.pid!, name]) {
          const { code, stderr } = await pmscan([command, target, ...more]);
          expect(code, stderr).toBe(0);
        }
      } finally {
        child.stdin.end();
        await once(child, 'close');
      }
    },
  );
});

describe('a process in another PID namespace', () => {
  const inNamespace = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'gdb', 'root');

  inNamespace('its core file has the numbers that its threads know themselves by', async () => {
    const program = nativeProgram('harmless', ['-pthread']);
    const starter = spawn('unshare', ['--pid', '--fork', '--kill-child', program, 'nanosleep', '3'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    try {
      await once(starter.stdout, 'data');
      const children = readFileSync(`/proc/${starter.pid}/task/${starter.pid}/children`, 'utf8');
      const pid = Number(children.trim());
      await dumpCore(pid, { file });
      const own = readdirSync(`/proc/${pid}/task`).map((tid) => {
        const status = readFileSync(`/proc/${pid}/task/${tid}/status`, 'utf8');
        return Number(/^NSpid:.*\s(\d+)$/m.exec(status)![1]);
      });
      expect(Math.max(...own)).toBeLessThan(100);
      const core = new CoreReader(file);
      const notes = core.notes();
      const ids = notes.filter(({ type }) => type === 1).map(({ content }) => content.readInt32LE(32));
      expect(ids).toEqual(own);
      expect(notes.find(({ type }) => type === 3)!.content.readInt32LE(24)).toBe(1);
      // Its parent is outside.
      expect(notes.find(({ type }) => type === 1)!.content.readInt32LE(36)).toBe(0);
      core.close();
      // By libthread_db, which looks for them in memory, too: with other numbers, each would be listed twice.
      const shown = await gdb([program, file], 'info threads');
      expect(shown.match(/^[ *] +\d+ +Thread /gm)?.length).toBe(own.length);
    } finally {
      starter.stdin.end('q');
      await once(starter, 'close');
    }
  });
});

// --- Debuggers ----------------------------------------------------------------------------------------------------

const run = promisify(execFile);

async function gdb(args: readonly string[], ...commands: string[]): Promise<string> {
  const words = commands.flatMap((command) => ['-ex', command]);
  const { stdout } = await run('gdb', [
    '-q',
    '-nx',
    '-batch',
    '-iex',
    'set debuginfod enabled off',
    ...words,
    ...args,
  ]);
  return stdout;
}

/** Threads with the functions on their stacks, without what changes from one look to the next. */
function stacks(text: string): string[] {
  return text
    .split(/^Thread /m)
    .slice(1)
    .map((thread) => {
      const lwp = /LWP (\d+)/.exec(thread)![1];
      const frames = [...thread.matchAll(/^#\d+\s+(?:0x[0-9a-f]+ in )?(\S+)/gm)].map((match) => match[1]);
      return `${lwp}: ${frames.join(' ')}`;
    })
    .sort();
}

describe('debuggers', () => {
  const waiting = async () => {
    const child = spawn(nativeProgram('harmless', ['-pthread']), ['nanosleep', '3'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await firstOutput(child);
    return child;
  };

  withGdb('gdb shows the threads and memory that it shows of the process itself', async () => {
    const child = await waiting();
    const program = nativeProgram('harmless', ['-pthread']);
    const { code, stderr } = await pmscan(['core', child.pid!, '-o', file]);
    expect(code, stderr).toBe(0);
    const look = ['thread apply all bt', 'info auxv', 'x/16xg $sp', 'x/2i $pc', 'info registers xmm0'];
    const attached = await gdb(['-p', String(child.pid), program], ...look);
    const dumped = await gdb([program, file], ...look);
    expect(stacks(dumped).length).toBe(4);
    expect(stacks(dumped)).toEqual(stacks(attached));
    const auxv = (text: string) => text.split('\n').filter((line) => /^\d+ +AT_/.test(line));
    expect(auxv(dumped).length).toBeGreaterThan(10);
    expect(auxv(dumped)).toEqual(auxv(attached));
    const mappings = await gdb([program, file], 'info proc mappings', 'info files');
    expect(mappings).toContain('/libc.so');
    expect(mappings).toMatch(/load\d+/);
    const vdso = /AT_SYSINFO_EHDR.*0x([0-9a-f]+)/.exec(dumped)![1];
    expect(await gdb([program, file], `x/4xb 0x${vdso}`)).toContain('0x7f\t0x45\t0x4c\t0x46');
    child.stdin.end('q');
    await once(child, 'close');
  });

  withElfutils('eu-readelf and eu-stack read it', async () => {
    const child = await waiting();
    await dumpCore(child.pid!, { file });
    const { stdout: notes } = await run('eu-readelf', ['-n', '-l', file]);
    for (const note of ['PRSTATUS', 'PRPSINFO', 'SIGINFO', 'AUXV', 'FILE', 'FPREGSET', 'X86_XSTATE'])
      expect(notes).toContain(note);
    const { stdout } = await run('eu-stack', [
      `--core=${file}`,
      `--executable=${nativeProgram('harmless', ['-pthread'])}`,
    ]);
    expect(stdout.match(/^TID /gm)?.length).toBe(4);
    child.stdin.end('q');
    await once(child, 'close');
  });

  withElfutils.each([
    ['a program in C', () => [nativeProgram('harmless', ['-pthread']), 'nanosleep', '3']],
    ['Python', () => ['python3', '-c', 'import json, ssl, sys; print(1, flush=True); sys.stdin.read()']],
  ] as [string, () => [string, ...string[]]][])(
    'eu-unstrip finds all modules, in files and in streams: %s',
    async (_, command) => {
      const [program, ...args] = command();
      const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      try {
        await once(child.stdout, 'data');
        const truth = await modulesByGdb(child.pid!, join(folder, 'gdb'));
        expect(truth.length).toBeGreaterThan(3);
        await dumpCore(child.pid!, { file });
        expect(await modulesIn(file)).toEqual(truth);
        const core = new CoreReader(file);
        const filled = core.loads.filter(({ fileBytes }) => fileBytes > 0);
        const offsets = filled.map(({ offset }) => offset);
        expect(offsets).toEqual([...offsets].sort((a, b) => a - b));
        core.close();
        await dumpCore(child.pid!, { file, stop: true });
        expect(await modulesIn(file)).toEqual(truth);
        const stream = createWriteStream(file);
        await dumpCore(child.pid!, { file: stream });
        stream.end();
        await once(stream, 'close');
        expect(await modulesIn(file)).toEqual(truth);
      } finally {
        child.kill();
        await once(child, 'close');
      }
    },
  );

  withLldb('lldb shows its threads, their stacks and its memory', async () => {
    const child = await waiting();
    const program = nativeProgram('harmless', ['-pthread']);
    await dumpCore(child.pid!, { file });
    const look = ['thread list', 'thread backtrace all', 'x/4xb $sp'];
    const { stdout } = await run('lldb', [
      ...['--no-lldbinit', '--batch', '--core', file, program],
      ...look.flatMap((command) => ['-o', command]),
    ]);
    expect(stdout).toContain(`Process ${child.pid} stopped`);
    expect(stdout.match(/^[ *] thread #\d+: tid = \d+/gm)?.length).toBe(4);
    const [, backtraces] = stdout.split('(lldb) thread backtrace all');
    expect(backtraces!.match(/frame #\d+: 0x[0-9a-f]+ harmless`main/g)?.length).toBe(1);
    expect(backtraces!.match(/frame #0: 0x[0-9a-f]+ libc\.so\.6`/g)?.length).toBe(4);
    expect(backtraces).toMatch(/0x[0-9a-f]+: 0x[0-9a-f]{2} 0x/);
    child.stdin.end('q');
    await once(child, 'close');
  });

  withDrgn('drgn shows its threads and memory', async () => {
    const child = await waiting();
    await dumpCore(child.pid!, { file });
    const script = join(folder, 'look.py');
    const read = '[m.hex() for m in [prog.read(prog.main_thread().stack_trace()[0].register("rsp"), 8)]]';
    writeFileSync(script, `print(sorted(t.tid for t in prog.threads()), ${read})\n`);
    const tids = readdirSync(`/proc/${child.pid}/task`)
      .map(Number)
      .sort((a, b) => a - b);
    try {
      const { stdout } = await run('drgn', ['-q', '-c', file, script]);
      expect(stdout).toMatch(new RegExp(`^\\[${tids.join(', ')}\\] \\['[0-9a-f]{16}'\\]$`, 'm'));
    } finally {
      rmSync(script);
    }
    child.stdin.end('q');
    await once(child, 'close');
  });

  live('notes are in the order of the kernel', async () => {
    await dumpCore(quiet.pid, { file });
    const core = new CoreReader(file);
    const notes = core.notes();
    const types = notes.map(({ type }) => type);
    expect(types.slice(0, 6)).toEqual([1, 3, 0x53494749, 6, 0x46494c45, 2]);
    // Of each thread, the registers that only such a processor has: of arm64's, test/vm/core-notes.ts knows which.
    const more = types.slice(6, types.indexOf(1, 6));
    if (process.arch === 'x64') expect(more).toEqual([0x202]);
    expect(types.slice(6)).toEqual([...more, 1, 2, ...more, 1, 2, ...more]);
    expect(notes[0]!.content.readInt32LE(32)).toBe(quiet.pid);
    expect(notes[1]!.content.toString('latin1', 40, 44)).toBe('torn');
    expect(core.loads.every(({ offset }) => offset > 0)).toBe(true);
    core.close();
  });
});

// --- The command --------------------------------------------------------------------------------------------------

describe('pmscan core', () => {
  live('--json is what the contract says, and the file is its owner’s alone', async () => {
    rmSync(file, { force: true });
    const { code, stdout, stderr } = await pmscan(['core', quiet.pid, '-o', file, '--json']);
    expect([code, stderr]).toEqual([0, '']);
    const result = JSON.parse(stdout);
    expect(result).toMatchObject({ schema: 'pagemap-scan/core@1', pid: quiet.pid, file, threads: 3 });
    expect(result.bytes).toBe(statSync(file).size);
    expect(result.rounds[0].pages).toBeGreaterThan(1000);
    expect(result.pauseMs).toBeGreaterThan(0);
    expect(result.totalMs).toBeGreaterThan(result.pauseMs);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    NOTHING_BUT_THE_FOLDER();
  });

  live('-o - writes the same to a pipe, and --compress compresses it', async () => {
    const child = startPmscan(['core', String(quiet.pid), '-o', '-']);
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.stderr.resume();
    expect(await once(child, 'close')).toEqual([0, null]);
    writeFileSync(join(folder, 'piped'), Buffer.concat(chunks));
    const compressed = join(folder, 'core.gz');
    expect((await pmscan(['core', quiet.pid, '--compress', 'gzip', '-o', compressed])).code).toBe(0);
    expect(statSync(compressed).mode & 0o777).toBe(0o600);
    writeFileSync(join(folder, 'unzipped'), gunzipSync(readFileSync(compressed)));
    for (const name of ['piped', 'unzipped']) {
      const core = new CoreReader(join(folder, name));
      expect(findTear(core, quiet)).toBeUndefined();
      core.close();
    }
    for (const name of ['piped', 'unzipped', 'core.gz']) rmSync(join(folder, name));
  });

  live('what cannot work says so, with the exit code of the contract, and writes nothing', async () => {
    rmSync(file, { force: true });
    const cases: [string[], number, RegExp, Record<string, string>?][] = [
      [[String(quiet.pid)], 5, /PAGEMAP_SCAN; Linux 6\.7[\s\S]*--stop/, { PMSCAN_DISABLE_IOCTL: '1' }],
      [['4194304'], 3, /no such process/],
      [['no such program'], 3, /Cannot find/],
      [[String(quiet.pid), '--filter', 'xyz'], 2, /nine bits/],
      [[String(quiet.pid), '-o', join(folder, 'not/there')], 1, /no such folder/],
      [[String(quiet.pid), '-o', folder], 1, /it is a folder/],
      [['2'], 1, /kernel thread/],
      [[String(quiet.pid), '-o', ''], 2, /without a name/],
      [[String(quiet.pid), '-o', '/dev/null'], 1, /not a regular file/],
      [[String(quiet.pid), '--max-pause', '1ms', '--stop'], 1, /ms are needed[\s\S]*--max-pause/],
    ];
    for (const [args, expected, message, env] of cases) {
      const { code, stdout, stderr } = await pmscan(['core', '-o', file, ...args], { env: env ?? {} });
      expect([code, stdout], `${args} ${stderr}`).toEqual([expected, '']);
      expect(stderr).toMatch(message);
    }
    expect(existsSync(file)).toBe(false);
    expect(leftovers(quiet.pid)).toBeUndefined();
    NOTHING_BUT_THE_FOLDER();
  });

  live(
    'memory that another tool tracks is no reason to stop it for long, unless that is accepted',
    async () => {
      const target = await startTorn(torn(), 80, 1, 1000);
      try {
        using _tracker = await trackProcess(target.pid);
        const refused = await pmscan(['core', target.pid, '-o', file]);
        expect([refused.code, refused.stdout]).toEqual([1, '']);
        expect(refused.stderr).toMatch(
          /EBUSY \(of its memory, \d+ MiB are registered with another userfaultfd[\s\S]*--stop/,
        );
        expect(existsSync(file)).toBe(false);
        for (const more of [['--over-pause', 'accept'], ['--max-pause', '1m'], ['--stop']]) {
          const { code, stderr } = await pmscan(['core', target.pid, '-o', file, ...more]);
          expect(code, stderr).toBe(0);
          const core = new CoreReader(file);
          expect(findTear(core, target)).toBeUndefined();
          core.close();
          rmSync(file);
        }
      } finally {
        await target.stop();
      }
    },
  );

  live('--stop needs no tracking', async () => {
    for (const env of [{}, { PMSCAN_DISABLE_IOCTL: '1' }]) {
      const { code, stderr } = await pmscan(['core', quiet.pid, '-o', file, '--stop'], { env });
      expect(code, stderr).toBe(0);
      const core = new CoreReader(file);
      expect(findTear(core, quiet)).toBeUndefined();
      core.close();
    }
  });

  asRoot('a full disk is found out beforehand', async () => {
    const mount = join(folder, 'small');
    mkdirSync(mount);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', mount]);
    try {
      for (const more of [[], ['--stop']]) {
        const { code, stderr } = await pmscan(['core', quiet.pid, '-o', join(mount, 'core'), ...more]);
        expect(code).toBe(1);
        expect(stderr).toMatch(/ENOSPC.*MiB are free/);
        expect(readdirSync(mount)).toEqual([]);
      }
    } finally {
      execFileSync('umount', [mount]);
      rmSync(mount, { recursive: true });
    }
    expect(leftovers(quiet.pid)).toBeUndefined();
  });

  live('nothing is left open', async () => {
    await dumpCore(quiet.pid, { file });
    const before = openDescriptors();
    await dumpCore(quiet.pid, { file });
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(dumpCore(quiet.pid, { file, signal })).rejects.toThrow('enough');
    await expect(dumpCore(quiet.pid, { file: '/proc/none/core' })).rejects.toThrow();
    expect(openDescriptors()).toEqual(before);
  });
});

// --- Ends of all sorts --------------------------------------------------------------------------------------------

describe('whatever happens meanwhile', () => {
  live('Ctrl-C lets the process go, and leaves nothing', async () => {
    const target = await startTorn(torn(), 200, 2, 50_000);
    rmSync(file, { force: true });
    let interrupted = 0;
    for (let turn = 0; turn < 5; turn++) {
      const child = startPmscan(['core', String(target.pid), '-o', file]);
      const result = finish(child);
      // At work, as the process's memory shows.
      while (leftovers(target.pid) === undefined && child.exitCode === null) await sleep(1);
      await sleep(turn * 10);
      child.kill('SIGINT');
      const { code, stderr } = await result;
      if (code === 130) {
        interrupted++;
        expect(stderr).toMatch(/interrupted/);
        expect(existsSync(file)).toBe(false);
      }
      rmSync(file, { force: true });
      NOTHING_BUT_THE_FOLDER();
      expect(leftovers(target.pid)).toBeUndefined();
    }
    expect(interrupted).toBeGreaterThan(0);
    await target.stop();
  });

  live('killed in the middle, it leaves nothing', async () => {
    const target = await startTorn(torn(), 64, 2, 50_000, 't');
    rmSync(file, { force: true });
    for (let turn = 0; turn < 10; turn++) {
      const child = startPmscan(['core', String(target.pid), '-o', file, ...(turn % 2 ? ['--stop'] : [])]);
      const result = finish(child);
      await sleep(60 + turn * 37);
      child.kill('SIGKILL');
      await result;
      let left: string | undefined = 'it';
      for (let wait = 0; wait < 400 && left !== undefined; wait++) {
        left = leftovers(target.pid);
        if (left !== undefined) await sleep(5);
      }
      expect(left).toBeUndefined();
      rmSync(file, { force: true });
      NOTHING_BUT_THE_FOLDER();
    }
    // It still beats.
    await target.gap();
    await until('another beat', async () => (await target.gap()) > 0);
    await target.stop();
  });

  live('a process that ends, or runs another program, is no torn core', async () => {
    rmSync(file, { force: true });
    const ends: [(target: Torn) => void, RegExp][] = [[(target) => target.child.kill('SIGKILL'), /ended/]];
    for (const [end, message] of ends) {
      const target = await startTorn(torn(), 64, 1, 1000);
      let told = false;
      const dump = dumpCore(target.pid, {
        file,
        onProgress: () => {
          if (told) return;
          told = true;
          end(target);
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
        },
      });
      await expect(dump).rejects.toThrow(message);
      expect(existsSync(file)).toBe(false);
    }
    const shell = spawn('sh', ['-c', 'echo; read line; exec sleep 60'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await firstOutput(shell);
    let told = false;
    const dump = dumpCore(shell.pid!, {
      file,
      onProgress: () => {
        if (told) return;
        told = true;
        shell.stdin.write('\n');
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
      },
    });
    await expect(dump).rejects.toThrow(/replaced its program/);
    expect(existsSync(file)).toBe(false);
    shell.kill();
    NOTHING_BUT_THE_FOLDER();
  });

  asRoot('70,000 mappings and 200 threads', async () => {
    const limit = '/proc/sys/vm/max_map_count';
    const before = readFileSync(limit, 'utf8');
    if (Number(before) < 80_000) writeFileSync(limit, '80000');
    try {
      const child = spawn(nativeProgram('many', ['-pthread']), ['70000', '200'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
      const area = Number.parseInt(value, 16);
      const { threads } = await dumpCore(child.pid!, { file });
      expect(threads).toBe(201);
      const core = new CoreReader(file);
      expect(core.loads.length).toBeGreaterThan(70_000);
      for (const page of [0, 1, 35_000, 69_999])
        expect(core.memory(area + page * 4096, 1)?.[0]).toBe(1 + (page % 127));
      expect(core.notes().filter(({ type }) => type === 1).length).toBe(201);
      core.close();
      expect(leftovers(child.pid!)).toBeUndefined();
      child.stdin.end();
      await once(child, 'exit');
    } finally {
      writeFileSync(limit, before);
    }
  });

  live('a process that stands still already stays so', async () => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    child.kill('SIGSTOP');
    using handle = new ProcessHandle(child.pid!);
    const isStopped = () => /^State:\tT/m.test(new TextDecoder().decode(handle.read('status')));
    await until('the stop', isStopped);
    // Tracking needs a thread that runs; stopping does not.
    await dumpCore(child.pid!, { file, stop: true });
    await until('the stop, again', isStopped);
    child.kill('SIGKILL');
  });
});
