/** Completion in the shells themselves, on a terminal; and the manual pages by the programs that show them. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MAIN, pmscan } from '../support/cli.js';
import { testWhere } from '../support/needs.js';
import { until } from '../support/until.js';

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-completion-'));
/** What the target calls itself; no other process does. */
const NAME = `tracee-${process.pid}`;
let target: ChildProcess;

beforeAll(async () => {
  writeFileSync(join(folder, 'pmscan'), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`);
  chmodSync(join(folder, 'pmscan'), 0o755);
  writeFileSync(join(folder, 'scenario one.jsonl'), '');
  // A shell has a heap.
  target = spawn('sh', ['-c', 'read line', `${NAME}.js`], {
    argv0: NAME,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await once(target, 'spawn');
});

afterAll(async () => {
  target.kill();
  if (target.exitCode === null && target.signalCode === null) await once(target, 'exit');
  rmSync(folder, { recursive: true });
});

/** How each is started, and what it is told first. */
const SHELLS = {
  bash: { command: 'bash --noprofile --norc -i', start: 'source <(pmscan completion bash)' },
  zsh: {
    command: 'zsh -f -i',
    start: 'bindkey -e; autoload -Uz compinit; compinit -D; source <(pmscan completion zsh)',
  },
  fish: { command: 'fish --no-config -i', start: 'pmscan completion fish | source' },
};

/** What is typed with a Tab at its end, and the words that it must have become. */
const cases = (): (readonly [string, readonly string[]])[] => [
  ['wat', ['watch']],
  ['maps --sor', ['maps', '--sort']],
  ['maps --sort swa', ['maps', '--sort', 'swapped']],
  [`maps ${NAME.slice(0, -1)}`, ['maps', NAME]],
  [`maps ${String(target.pid).slice(0, -1)}${String(target.pid).slice(-1)}`, ['maps', String(target.pid)]],
  ["scan 1 --where 'present & !fil", ['scan', '1', '--where', 'present & !file']],
  ['scan 1 --return present,swa', ['scan', '1', '--return', 'present,swapped']],
  ['scan 1 --where=swa', ['scan', '1', '--where=swapped']],
  [`scan ${NAME} --mapping \\[hea`, ['scan', NAME, '--mapping', '[heap]']],
  [`scan ${NAME} --mapping '[bss: lib`, ['scan', NAME, '--mapping', '[bss: libc.so.6]']],
  ['run scenario', ['run', 'scenario one.jsonl']],
  ['snap verif', ['snap', 'verify']],
  ['snap diff one two --reg', ['snap', 'diff', 'one', 'two', '--regions']],
];

/** Types each line into a shell, has it completed, and has the shell say what the words are then. */
async function complete(shell: keyof typeof SHELLS, lines: readonly string[]): Promise<string[]> {
  const { command, start } = SHELLS[shell];
  const child = spawn('script', ['-q', '-f', '-c', command, '/dev/null'], {
    cwd: folder,
    env: {
      ...process.env,
      PATH: `${folder}:${process.env['PATH']}`,
      HOME: folder,
      TERM: 'xterm',
      LANG: 'C.UTF-8',
      ENV: '',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  const ended = once(child, 'close');
  let screen = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    screen += text;
  });
  const said = () => [...screen.matchAll(/<<([^<>]*)>>/g)].map(([, words]) => words!);
  try {
    child.stdin.write(`${start}\n`);
    // The shell takes the keys one by one: what comes after the Tab waits until it has been dealt with.
    for (const [index, line] of lines.entries()) {
      child.stdin.write(`pmscan ${line}\t\x01printf '<%s' '<'; printf '%s|' \x05; printf '%s\\n' '>>'\r`);
      await until(`${shell} to complete ${line}`, () => said().length > index);
    }
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${JSON.stringify(screen.slice(-3000))}`, { cause: error });
  } finally {
    child.stdin.end('\x03exit\n');
    child.kill();
    await ended;
  }
  return said();
}

describe.each(Object.keys(SHELLS) as (keyof typeof SHELLS)[])('%s', (shell) => {
  testWhere(shell, 'script')(
    'completes commands, options, processes, filters, mappings, files',
    async () => {
      const all = cases();
      const found = await complete(
        shell,
        all.map(([line]) => line),
      );
      expect(found).toEqual(all.map(([, words]) => `pmscan|${words.join('|')}|`));
    },
    60_000,
  );
});

test('commands of commands', async () => {
  const values = async (...words: string[]) =>
    (await pmscan(['completion', 'fish', '--', ...words])).stdout
      .split('\n')
      .map((line) => line.split('\t')[0])
      .filter((value) => value !== '');
  expect(await values('snap', 'his')).toEqual(['history']);
  expect(await values('snap', NAME.slice(0, -1))).toEqual([NAME]);
  // The rest is files.
  expect(await values('snap', 'list', '')).toEqual([]);
  expect(await values('snap', 'diff', '--js')).toEqual(['--json']);
});

test('a name that no process has is answered with those that have it in part', async () => {
  const { code, stderr } = await pmscan(['maps', NAME.slice(0, -1)]);
  expect(code).toBe(3);
  expect(stderr).toContain(`These have it as a part of their names:\n`);
  expect(stderr).toMatch(new RegExp(`^ +${target.pid}  `, 'm'));
});

test('and with those that have it in their command lines', async () => {
  const { code, stderr } = await pmscan(['maps', `${NAME}.js`]);
  expect(code).toBe(3);
  expect(stderr).toContain('These have it in their command lines:\n');
  expect(stderr).toMatch(new RegExp(`^ +${target.pid}  `, 'm'));
});

describe('manual pages', () => {
  const pages = join(MAIN, '../../man');

  test('there is one for each command', async () => {
    const { stdout } = await pmscan(['completion', 'fish', '--', '']);
    const commands = stdout
      .trim()
      .split('\n')
      .map((line) => `pmscan-${line.split('\t')[0]}.1`);
    expect(readdirSync(pages).sort()).toEqual([...commands, 'pmscan.1'].sort());
    expect(commands.length).toBeGreaterThan(10);
    const { man } = JSON.parse(readFileSync(join(MAIN, '../../../package.json'), 'utf8')) as {
      man: string[];
    };
    expect(man).toEqual(
      readdirSync(pages)
        .sort()
        .map((name) => `./dist/man/${name}`),
    );
  });

  testWhere('groff')('groff has no complaint about any', () => {
    for (const name of readdirSync(pages)) {
      const args = ['-c', 'groff -man -Tutf8 -ww -z "$1" 2>&1', 'sh', join(pages, name)];
      expect(execFileSync('sh', args, { encoding: 'utf8' }), name).toBe('');
    }
    const text = execFileSync('groff', ['-man', '-Tascii', '-P-cbou', join(pages, 'pmscan-scan.1')], {
      encoding: 'utf8',
    });
    expect(text).toMatch(/^ +--where EXPR$/m);
  });

  test('off a terminal, help says what --help says', async () => {
    const [help, asked] = [await pmscan(['help', 'scan']), await pmscan(['scan', '--help'])];
    expect(help.stdout).toBe(asked.stdout);
    expect((await pmscan(['help', 'nonsense'])).code).toBe(2);
  });
});
