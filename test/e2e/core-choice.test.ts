/** Core files that hold a part of a process: by the names of its mappings, or its stacks alone. */
import { execFile, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect } from 'vitest';
import { dumpCore } from '../../src/core/index.js';
import { pmscan } from '../support/cli.js';
import { leftovers } from '../support/kills.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { CoreReader, startTorn } from '../support/torn.mjs';
import { until } from '../support/until.js';
import { startWrites, type Writes } from '../support/writes.js';

const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const withGdb = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler', 'gdb');

const SYS_READ = process.arch === 'x64' ? 0 : 63;
/** Where a note of a thread (NT_PRSTATUS) has its stack pointer. */
const STACK_POINTER = 112 + (process.arch === 'x64' ? 19 : 31) * 8;

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-core-choice-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, 'core');

/** A process with a text in its heap, and another one in a memfd; gives where they are. */
async function startMarked(): Promise<{ writes: Writes; heap: number; memfd: number }> {
  const writes = await startWrites();
  const { start: heap } = await writes.order('brk 16');
  const { start: memfd } = await writes.order('map 1 memfd 16');
  const memory = openSync(`/proc/${writes.pid}/mem`, 'r+');
  for (const [text, at] of [
    ['IN THE HEAP', heap],
    ['IN THE MEMFD', memfd],
  ] as const)
    writeSync(memory, Buffer.from(text), 0, text.length, at + 4096);
  closeSync(memory);
  return { writes, heap, memfd };
}

function textAt(core: CoreReader, address: number): string | undefined {
  return core
    .memory(address + 4096, 12)
    ?.toString('latin1')
    .replace(/\0+$/, '');
}

for (const stop of [false, true]) {
  const more = stop ? ['--stop'] : [];
  live(`--zero: it is there, all of it is zero, and no byte of it is in the file ${more}`, async () => {
    const { writes, heap, memfd } = await startMarked();
    await using _ = writes;
    for (const [pattern, texts] of [
      ['[heap]', ['', 'IN THE MEMFD']],
      ['/memfd:*', ['IN THE HEAP', '']],
    ] as const) {
      const { code, stderr } = await pmscan(['core', writes.pid, '-o', file, '--zero', pattern, ...more]);
      expect(code, stderr).toBe(0);
      const core = new CoreReader(file);
      expect([textAt(core, heap), textAt(core, memfd)]).toEqual(texts);
      core.close();
      const bytes = readFileSync(file);
      expect(['IN THE HEAP', 'IN THE MEMFD'].map((text) => bytes.includes(text))).toEqual(
        texts.map((text) => text !== ''),
      );
    }
  });

  live(`--only and --without: what is left out is not in the file ${more}`, async () => {
    const { writes, heap, memfd } = await startMarked();
    await using _ = writes;
    for (const [args, texts] of [
      [
        ['--only', '[heap]'],
        ['IN THE HEAP', undefined],
      ],
      [
        ['--only', 'memfd:writes'],
        [undefined, 'IN THE MEMFD'],
      ],
      [
        ['--only', '[heap]', '--only', 'memfd'],
        ['IN THE HEAP', 'IN THE MEMFD'],
      ],
      [
        ['--without', 'heap'],
        [undefined, 'IN THE MEMFD'],
      ],
      [
        ['--only', 'e', '--without', '[heap]', '--without', '/lib/*'],
        [undefined, 'IN THE MEMFD'],
      ],
    ] as const) {
      const { code, stderr } = await pmscan(['core', writes.pid, '-o', file, ...args, ...more]);
      expect(code, stderr).toBe(0);
      const core = new CoreReader(file);
      expect([textAt(core, heap), textAt(core, memfd)], args.join(' ')).toEqual(texts);
      // The mappings are listed nevertheless.
      expect(core.loads.some(({ address }) => address === memfd)).toBe(true);
      core.close();
    }
  });
}

live('patterns that match nothing, or make no sense together, are refused', async () => {
  const { writes } = await startMarked();
  await using _ = writes;
  rmSync(file, { force: true });
  for (const [args, expected, message] of [
    [['--zero', 'haep'], 1, /none has "haep" in its name; pmscan maps/],
    [['--only', 'stack', '--only', '*.jar'], 1, /"\*\.jar"/],
    [['--stacks', '--only', 'heap'], 2, /leave out --only and --without/],
    [['--only', ''], 2, /part of a name/],
  ] as const) {
    const { code, stdout, stderr } = await pmscan(['core', writes.pid, '-o', file, ...args]);
    expect([code, stdout], stderr).toEqual([expected, '']);
    expect(stderr).toMatch(message);
  }
  await expect(dumpCore(writes.pid, { file, stacks: true, without: ['x'] })).rejects.toMatchObject({
    code: 'EINVAL',
  });
  expect(existsSync(file)).toBe(false);
  expect(leftovers(writes.pid)).toBeUndefined();
});

live(
  '--stacks: stacks and registers of all threads, and nothing of the rest; without the ioctl, too',
  async () => {
    const target = await startTorn(nativeProgram('torn', ['-pthread']), 64, 3, 1000);
    try {
      for (const env of [{}, { PMSCAN_DISABLE_IOCTL: '1' }]) {
        const { code, stderr } = await pmscan(['core', target.pid, '-o', file, '--stacks'], { env });
        expect(code, stderr).toBe(0);
        expect(statSync(file).blocks * 512).toBeLessThan(512 << 10);
        const core = new CoreReader(file);
        const threads = core.notes().filter(({ type }) => type === 1);
        expect(threads.length).toBe(5);
        for (const { content } of threads)
          expect(core.memory(Number(content.readBigUInt64LE(STACK_POINTER)), 64)).toBeDefined();
        expect(core.memory(target.start, 4096)).toBeUndefined();
        core.close();
      }
      expect(leftovers(target.pid)).toBeUndefined();
    } finally {
      await target.stop();
    }
  },
);

withGdb('--stacks: gdb shows the same backtraces and libraries as of all memory', async () => {
  const program = nativeProgram('harmless', ['-pthread']);
  const child = spawn(program, ['read', '4'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await firstOutput(child);
  try {
    // Where nothing moves, both files have to say the same.
    await until('all threads at rest', () => {
      const waits = readdirSync(`/proc/${child.pid}/task`).map((tid) =>
        readFileSync(`/proc/${child.pid}/task/${tid}/syscall`, 'utf8'),
      );
      return waits.length === 4 && waits.every((wait) => wait.startsWith(`${SYS_READ} 0x0 `));
    });
    const look = async () => {
      const commands = ['thread apply all bt', 'info sharedlibrary'].flatMap((command) => ['-ex', command]);
      const args = ['-q', '-nx', '-batch', '-iex', 'set debuginfod enabled off', ...commands, program, file];
      const { stdout } = await promisify(execFile)('gdb', args);
      const threads = stdout.split(/^Thread \d+ /m).slice(1);
      return {
        stacks: threads
          .map((thread) => {
            const frames = [...thread.matchAll(/^#\d+\s+(?:0x[0-9a-f]+ in )?(\S+)/gm)];
            return [/LWP \d+/.exec(thread)![0], ...frames.map((match) => match[1])].join(' ');
          })
          .sort(),
        libraries: stdout.match(/^0x\S+ +0x\S+ .*$/gm),
      };
    };
    await dumpCore(child.pid!, { file });
    const all = await look();
    const { stoppedPages } = await dumpCore(child.pid!, { file, stacks: true });
    const alone = await look();
    expect(alone).toEqual(all);
    expect(alone.stacks.length).toBe(4);
    expect(alone.stacks.some((stack) => stack.endsWith(' main'))).toBe(true);
    expect(alone.libraries?.length).toBeGreaterThanOrEqual(2);
    expect(stoppedPages).toBeLessThan(64);
  } finally {
    child.kill();
  }
});
