/** The command's contract: its JSON, its exit codes, its messages, and that it harms nobody. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { parseSmaps } from '../../src/proc/index.js';
import { KERNEL_PROFILES } from '../../src/sim/index.js';
import { finish, MAIN, pmscan, startPmscan } from '../support/cli.js';
import { hasZeroPage } from '../support/facts.js';
import { available, testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { startTarget, type Target } from '../support/target.js';

const live = testWhere('pagemap-scan', 'compiler');
const asRoot = testWhere('pagemap-scan', 'compiler', 'root');

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** 100 pages, every second one written. */
let target: Target;
beforeAll(async () => {
  if (available('compiler')) target = await startTarget('target', [100]);
});
afterAll(() => target?.[Symbol.asyncDispose]());

const range = () => `0x${target.start.toString(16)}-0x${target.end.toString(16)}`;

describe('scan', () => {
  live('--json is what the contract says', async () => {
    const where = 'present & !file';
    const { code, stdout, stderr } = await pmscan([
      'scan',
      target.pid,
      '--json',
      '--range',
      range(),
      '--where',
      where,
    ]);
    expect([code, stderr]).toEqual([0, '']);
    const document = JSON.parse(stdout);
    expect(Object.keys(document)).toEqual(['schema', 'pid', 'pageSize', 'regions', 'totals']);
    expect(document).toMatchObject({
      schema: 'pagemap-scan/scan@1',
      pid: target.pid,
      pageSize: 4096,
      totals: { regions: 50, pages: 50 },
    });
    expect(document.regions).toHaveLength(50);
    expect(document.regions[1]).toEqual({
      start: `0x${(target.start + 2 * PAGE_SIZE).toString(16)}`,
      end: `0x${(target.start + 3 * PAGE_SIZE).toString(16)}`,
      pages: 1,
      categories: ['written', 'present'],
      mapping: '',
      owner: null,
    });
  });

  live('without a filter everything that is mapped is reported', async () => {
    const { stdout } = await pmscan(['scan', target.pid, '--json']);
    const maps = JSON.parse((await pmscan(['maps', target.pid, '--json'])).stdout);
    // The kernel leaves raw device mappings out of a scan, and nothing else.
    const raw = maps.mappings
      .filter(({ name }: { name: string }) => name.startsWith('[vvar'))
      .reduce((sum: number, { pages }: { pages: number }) => sum + pages, 0);
    expect(JSON.parse(stdout).totals.pages).toBe(maps.totals.pages - raw);
  });

  live('--return, --max-pages, --mapping and several ranges', async () => {
    const middle = target.start + 50 * PAGE_SIZE;
    const first = `${target.start.toString(16)}-${middle.toString(16)}`;
    const overlapping = `0x${(middle - 10 * PAGE_SIZE).toString(16)}+40K`;
    const json = async (...args: string[]) =>
      JSON.parse((await pmscan(['scan', target.pid, '--json', ...args])).stdout);

    const both = ['--range', first, '--range', overlapping, '--where', 'present'];
    expect((await json(...both)).totals).toEqual({ regions: 25, pages: 25 });
    expect((await json(...both, '--return', 'none')).regions[0].categories).toEqual([]);
    expect((await json(...both, '--return', 'present,file')).regions[0].categories).toEqual(['present']);
    expect((await json(...both, '--max-pages', '7')).totals).toEqual({ regions: 7, pages: 7 });
    expect(
      (await json('--mapping', '[stack]')).regions.map(({ mapping }: { mapping: string }) => mapping),
    ).toEqual(expect.arrayContaining(['[stack]']));
    const code = await json('--mapping', '*/target', '--where', 'file');
    expect(code.regions.every(({ mapping }: { mapping: string }) => mapping.endsWith('/target'))).toBe(true);
    expect(code.totals.pages).toBeGreaterThan(0);
    expect((await json('--mapping', '[stack]', '--range', first)).totals.pages).toBe(0);
  });

  live('says why every page is written, as long as no page is tracked', async () => {
    const scan = (...args: string[]) => pmscan(['scan', target.pid, '--range', range(), ...args]);
    const why =
      /^pmscan: written: the writes to these pages are not tracked, .*`pmscan watch \d+` tracks them\n$/;
    // Kernels from 7.3 on do not call such pages written.
    const { totals } = JSON.parse((await scan('--where', 'written', '--json')).stdout);
    expect((await scan()).stderr).toMatch(totals.pages > 0 ? why : /^$/);
    for (const args of [['--where', '!written'], ['--return', 'written'], ['--json']])
      expect((await scan(...args)).stderr).toBe('');
  });

  live('as text: a line a region, and the totals', async () => {
    const { stdout } = await pmscan(['scan', target.pid, '--range', range(), '--where', 'present']);
    const lines = stdout.trim().split('\n');
    expect(lines[0]).toMatch(/^START +END +PAGES +SIZE +CATEGORIES +MAPPING$/);
    expect(lines[1]).toMatch(/^0x[0-9a-f]+ +0x[0-9a-f]+ +1 +4 KiB +written present +\[anon\]$/);
    expect(lines.at(-1)).toBe('50 pages (200 KiB) in 50 regions');
    expect(lines).toHaveLength(52);
  });

  live('nothing found is no failure', async () => {
    const none = ['scan', target.pid, '--range', range(), '--where', 'swapped'];
    expect(await pmscan(none)).toMatchObject({ code: 0, stdout: '0 pages (0 B) in 0 regions\n' });
    const { stdout } = await pmscan([...none, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ regions: [], totals: { regions: 0, pages: 0 } });
  });

  live('a process by its name', async () => {
    const { code, stderr } = await pmscan(['scan', 'no-such-program']);
    expect(code).toBe(3);
    expect(stderr).toMatch(/^pmscan: Cannot find a process named no-such-program/);

    const program = join(folder, 'pmscan-unique');
    cpSync('/bin/sleep', program);
    const one = spawn(program, ['1000']);
    await once(one, 'spawn');
    expect(await pmscan(['scan', 'pmscan-unique', '--json', '--max-pages', '1'])).toMatchObject({ code: 0 });
    const other = spawn(program, ['1000']);
    await once(other, 'spawn');
    const ambiguous = await pmscan(['scan', 'pmscan-unique']);
    expect(ambiguous.code).toBe(2);
    expect(ambiguous.stderr).toContain(`${one.pid}  ${program} 1000`);
    expect(ambiguous.stderr).toContain(`${other.pid}  ${program} 1000`);
    for (const child of [one, other]) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });
});

describe('maps', () => {
  live('--pss tells what is shared with others, as smaps does', async () => {
    const { code, stdout, stderr } = await pmscan(['maps', target.pid, '--json', '--pss']);
    expect([code, stderr]).toEqual([0, '']);
    const { mappings, totals } = JSON.parse(stdout);
    const smaps = parseSmaps(readFileSync(`/proc/${target.pid}/smaps`));
    type Row = { start: string; name: string; present: number; pssBytes: number; ussBytes: number };
    let compared = 0;
    for (const { start, name, present, pssBytes, ussBytes } of mappings as Row[]) {
      const { sizes, inode } = smaps.find((one) => `0x${one.start.toString(16)}` === start)!;
      // Who else has a file's pages changes with each process that begins or ends.
      if (inode === 0)
        expect([name, pssBytes, ussBytes]).toEqual([
          ...[name, sizes.Pss, sizes.Private_Clean! + sizes.Private_Dirty!],
        ]);
      expect(ussBytes).toBeLessThanOrEqual(pssBytes);
      // Of the C library, which this process has, too.
      if (name.includes('/libc.so') && present > 100) {
        expect(pssBytes).toBeLessThan(present * 4096);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(0);
    const sum = (key: 'pssBytes' | 'ussBytes') =>
      (mappings as Row[]).reduce((total, row) => total + row[key], 0);
    expect([totals.pssBytes, totals.ussBytes]).toEqual([sum('pssBytes'), sum('ussBytes')]);
    const table = (await pmscan(['maps', target.pid, '--sort', 'pss'])).stdout.split('\n');
    expect(table[1]).toMatch(/PRESENT +PSS +USS/);
    expect((await pmscan(['maps', target.pid])).stdout).not.toContain('PSS');
    expect(JSON.parse((await pmscan(['maps', target.pid, '--json'])).stdout).totals.pssBytes).toBeUndefined();
  });

  live('--json is what the contract says', async () => {
    const { code, stdout, stderr } = await pmscan(['maps', target.pid, '--json']);
    expect([code, stderr]).toEqual([0, '']);
    const document = JSON.parse(stdout);
    expect(Object.keys(document)).toEqual(['schema', 'pid', 'pageSize', 'mappings', 'totals']);
    expect(document).toMatchObject({ schema: 'pagemap-scan/maps@1', pid: target.pid, pageSize: 4096 });
    const start = `0x${target.start.toString(16)}`;
    const mapping = document.mappings.find(
      (found: { start: string; end: string }) => found.start <= start && found.end > start,
    );
    expect(Object.keys(mapping)).toEqual([
      'start',
      'end',
      'prot',
      'name',
      'owner',
      'ownerKind',
      'pages',
      'present',
      'swapped',
      'file',
      'pfnzero',
      'huge',
      'guard',
    ]);
    expect(mapping).toMatchObject({ prot: 'rw-p', name: '', swapped: 0, file: 0, huge: 0, guard: 0 });
    expect(mapping.present).toBeGreaterThanOrEqual(50);
    const sum = document.mappings.reduce(
      (total: number, { present }: { present: number }) => total + present,
      0,
    );
    expect(document.totals.present).toBe(sum);
    const sizes = document.mappings.map(({ pages }: { pages: number }) => pages);
    expect(sizes).toEqual([...sizes].sort((a, b) => b - a));
  });

  live('as a table with a bar, totals and what the bar means', async () => {
    const { stdout } = await pmscan(['maps', target.pid]);
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^Process \d+, target: \d+ mappings by present$/);
    expect(lines[1]).toMatch(/^ADDRESS +PROT +SIZE +PRESENT +FILE +PAGES +NAME$/);
    expect(lines.find((line) => line.includes('▓▓▓▓▓▓▓▓········'))).toMatch(/\[anon\]( (after|before) .+)?$/);
    expect(lines.at(-2)).toMatch(/^total .* \d+ mappings$/);
    expect(lines.at(-1)).toContain('▓ anonymous');
    const ascii = await pmscan(['maps', target.pid, '--top', '2', '--sort', 'present'], {
      env: { LC_ALL: 'C' },
    });
    expect(ascii.stdout).toMatch(/^[\x20-\x7e\n]+$/);
    expect(ascii.stdout).toMatch(/mappings more/);
  });

  live('--by owner adds up what has owners of the same kind', async () => {
    const document = JSON.parse((await pmscan(['maps', target.pid, '--by', 'owner', '--json'])).stdout);
    expect(Object.keys(document)).toEqual(['schema', 'pid', 'pageSize', 'owners', 'totals']);
    type Sum = { kind: string | null; mappings: number; present: number };
    const sum = (key: 'mappings' | 'present') =>
      document.owners.reduce((total: number, owner: Sum) => total + owner[key], 0);
    expect([sum('mappings'), sum('present')]).toEqual([document.totals.mappings, document.totals.present]);
    const kinds = document.owners.map(({ kind }: Sum) => kind);
    expect(kinds).toEqual(expect.arrayContaining(['library', 'malloc', 'program', 'stack', null]));
    const lines = (await pmscan(['maps', target.pid, '--by', 'owner'])).stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/: \d+ mappings by owner, then present$/);
    expect(lines[1]).toMatch(/^MAPPINGS +SIZE +PRESENT +FILE +PAGES +OWNER$/);
    expect(lines.slice(2, -2)).toHaveLength(kinds.length);
    expect(lines).toContainEqual(expect.stringMatching(/^ *\d+ .* libraries$/));
  });

  live(
    'patterns match owners, and what is only reserved is left out where no order is asked for',
    async () => {
      const { regions } = JSON.parse(
        (await pmscan(['scan', target.pid, '--json', '--mapping', 'stack: target'])).stdout,
      );
      expect(regions.length).toBeGreaterThan(0);
      for (const region of regions) {
        expect(region).toMatchObject({ mapping: '[stack]', owner: `[stack: target ${target.pid}]` });
      }
      const other = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1e6)']);
      await firstOutput(other);
      const count = async (...args: string[]) =>
        (await pmscan(['maps', other.pid!, ...args])).stdout.match(/ ---p /g)?.length ?? 0;
      const folded = (await pmscan(['maps', other.pid!])).stdout;
      expect(folded).toMatch(/\d+ mappings more that nobody can access, .* of address space/);
      expect(await count()).toBe(0);
      expect(await count('--sort', 'address')).toBeGreaterThan(2);
      other.kill('SIGKILL');
      await once(other, 'exit');
    },
  );

  live('colour only where it is wanted', async () => {
    const colored = { env: { FORCE_COLOR: '1' } };
    expect((await pmscan(['maps', target.pid], colored)).stdout).toContain('\x1b[');
    expect((await pmscan(['--no-color', 'maps', target.pid], colored)).stdout).not.toContain('\x1b');
    expect(
      (await pmscan(['maps', target.pid], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } })).stdout,
    ).not.toContain('\x1b');
    expect((await pmscan(['maps', target.pid])).stdout).not.toContain('\x1b');
  });
});

describe('names that come from outside', () => {
  const evil = 'a\x1b[31m\u202eb\n\x07c\u009b d';

  live('are harmless in a terminal and intact in JSON', async () => {
    await using hostile = await startTarget('target', [1, evil], { cwd: folder });
    for (const command of [['maps'], ['scan', '--where', 'present']]) {
      const [name, ...rest] = command as [string, ...string[]];
      const text = await pmscan([name, hostile.pid, ...rest]);
      expect(text.stdout).toContain('a\\x1b[31m\\u202eb\\x0a\\x07c\\x9b d');
      expect(text.stdout).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/);
      const { stdout } = await pmscan([name, hostile.pid, ...rest, '--json']);
      const { mappings, regions } = JSON.parse(stdout);
      const names = (mappings ?? regions).map(
        (found: { name?: string; mapping?: string }) => found.name ?? found.mapping,
      );
      expect(names).toContain(join(folder, evil));
    }
  });

  live('and so are command lines, in the list of candidates', async () => {
    const children = [0, 1].map(() => spawn('sleep', ['1000'], { argv0: '/x/pmscan-evil\x1b[2J' }));
    await Promise.all(children.map((child) => once(child, 'spawn')));
    const { code, stderr } = await pmscan(['scan', 'pmscan-evil\x1b[2J']);
    expect(code).toBe(2);
    expect(stderr).toContain('pmscan-evil\\x1b[2J 1000');
    expect(stderr).not.toContain('\x1b');
    for (const child of children) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  test('and arguments, in usage errors', async () => {
    const { code, stderr } = await pmscan(['scan', '1', '--return', '\x1b[2Jx']);
    expect(code).toBe(2);
    expect(stderr).toContain('\\x1b[2Jx');
    expect(stderr).not.toContain('\x1b');
  });
});

describe('what goes wrong says what, and what to do', () => {
  live.each([
    { args: ['scan', '999999999'], code: 3, says: 'there is no such process' },
    { args: ['maps', '999999999'], code: 3, says: 'there is no such process' },
    { args: ['scan'], code: 2, says: "missing required argument 'pid'" },
    {
      args: ['scan', 'PID', '--range', '0x7ffffffff000-0x800000000000'],
      code: 2,
      says: 'outside user space',
    },
    { args: ['scan', 'PID', '--range', '0x2000-0x1000'], code: 2, says: 'The end must lie behind the start' },
    { args: ['scan', 'PID', '--range', 'zz'], code: 2, says: 'Give two addresses' },
    { args: ['scan', 'PID', '--range', '0x1000-0x2000-x'], code: 2, says: 'Give two addresses' },
    { args: ['scan', 'PID', '--range', '0x1000+4K+9'], code: 2, says: 'Give two addresses' },
    { args: ['scan', 'PID', '--range', '0x1000+0.1K'], code: 2, says: 'whole number of bytes' },
    { args: ['maps', '123456789012'], code: 3, says: 'Cannot find a process or a container named 1234' },
    { args: ['maps', '000000000000'], code: 3, says: 'an integer from 1' },
    { args: ['maps', ''], code: 2, says: 'without a name' },
    {
      args: ['scan', 'PID', '--return', 'present,nonsense'],
      code: 2,
      says: 'There is no category "nonsense"',
    },
    { args: ['scan', 'PID', '--max-pages', '-1'], code: 2, says: 'Give a whole number from 1' },
    { args: ['scan', 'PID', '--where', 'present & (file'], code: 2, says: '^' },
    { args: ['scan', 'PID', '--where', 'presnt'], code: 2, says: "Did you mean 'present'?" },
    {
      args: ['scan', 'PID', '--where', '(present & file) | huge & swapped'],
      code: 2,
      says: /\^~+\n.*(group|alternatives)/i,
    },
    { args: ['scan', 'PID', '--mapping', 'no such mapping'], code: 1, says: '`pmscan maps` lists them' },
    { args: ['maps', 'PID', '--sort', 'colour'], code: 2, says: 'Allowed choices are' },
    { args: ['nonsense'], code: 2, says: "unknown command 'nonsense'" },
    { args: ['scan', 'PID', '--nonsense'], code: 2, says: "unknown option '--nonsense'" },
  ])('$args: exit code $code', async ({ args, code, says }) => {
    const run = await pmscan(args.map((arg) => (arg === 'PID' ? target.pid : arg)));
    expect(run.code).toBe(code);
    expect(run.stdout).toBe('');
    expect(run.stderr).toMatch(/^pmscan: /);
    if (typeof says === 'string') expect(run.stderr).toContain(says);
    else expect(run.stderr).toMatch(says);
    expect(run.stderr).not.toContain('    at ');
  });

  testWhere('pagemap-scan', 'kernel-threads')('a kernel thread', async () => {
    expect(await pmscan(['scan', '2'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^pmscan: (?!.* at ).*kernel thread/),
    });
  });

  live('a kernel without the ioctl', async () => {
    const env = { PMSCAN_DISABLE_IOCTL: '1', PMSCAN_PROVIDER: 'ioctl' };
    for (const args of [
      ['scan', target.pid],
      ['maps', target.pid],
    ]) {
      const { code, stdout, stderr } = await pmscan(args, { env });
      expect([code, stdout]).toEqual([5, '']);
      expect(stderr).toContain('Linux 6.7 brought it');
      expect(stderr).toContain('PMSCAN_PROVIDER forbids the fallback');
      expect(stderr).toContain('pmscan doctor');
    }
    const { code, stdout } = await pmscan(['doctor', '--json'], { env });
    expect(code).toBe(0);
    const { capabilities } = JSON.parse(stdout);
    expect(capabilities).toContainEqual(expect.objectContaining({ id: 'pagemap-scan', answer: 'no' }));
  });

  asRoot("another user's process, as an ordinary user", async () => {
    const nobody = 65534;
    // The command must be readable for that user, wherever this checkout lies.
    const copy = join(folder, 'package');
    const root = join(MAIN, '../../..');
    for (const part of ['dist', 'node_modules/commander', 'node_modules/koffi', 'node_modules/@koromix']) {
      cpSync(join(root, part), join(copy, part), { recursive: true });
    }
    const plain = ['picocolors', 'string-width', 'strip-ansi', 'ansi-regex', 'get-east-asian-width'];
    for (const part of [...plain, 'hyparquet', 'hyparquet-writer']) {
      cpSync(join(root, 'node_modules', part), join(copy, 'node_modules', part), { recursive: true });
    }
    cpSync(join(root, 'package.json'), join(copy, 'package.json'));
    const run = async (...args: (string | number)[]) => {
      const child = spawn(process.execPath, [join(copy, 'dist/cli/main.js'), ...args.map(String)], {
        uid: nobody,
        gid: nobody,
        cwd: '/',
      });
      return finish(child);
    };
    await once(spawn('chmod', ['-R', 'a+rX', folder]), 'exit');
    const refused = await run('scan', target.pid);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain("another user's");
    expect(refused.stderr).toContain('CAP_SYS_PTRACE');

    const own = spawn('sleep', ['1000'], { uid: nobody, gid: nobody });
    await once(own, 'spawn');
    const allowed = await run('scan', own.pid!, '--where', 'present', '--json');
    expect([allowed.code, allowed.stderr]).toEqual([0, '']);
    expect(JSON.parse(allowed.stdout).totals.pages).toBeGreaterThan(10);
    own.kill('SIGKILL');
    await once(own, 'exit');

    const doctor = await run('doctor', '--json');
    const { capabilities } = JSON.parse(doctor.stdout);
    const answers = Object.fromEntries(
      capabilities.map(({ id, how }: { id: string; how: string }) => [id, how]),
    );
    expect(answers['userfaultfd']).toContain('user mode only');
    expect(answers['ptrace-others']).toContain('without CAP_SYS_PTRACE');
  });
});

describe('a scan that is cut short', () => {
  // More text than a pipe holds: the command waits in the middle until somebody reads.
  const PAGES = 100_000;

  async function half(large: Target, json: boolean) {
    const args = ['scan', String(large.pid), '--where', 'present & !file'];
    const child = startPmscan(json ? [...args, '--json'] : args);
    // The first text is there, so that the scan is on its way; what follows does not fit.
    await once(child.stdout, 'readable');
    return child;
  }

  live('the process ends in the middle: what was measured is kept, and the exit code is 1', async () => {
    const large = await startTarget('target', [PAGES]);
    const child = await half(large, true);
    await large[Symbol.asyncDispose]();
    const { code, stdout, stderr } = await finish(child);
    expect(code).toBe(1);
    expect(stderr).toContain('the process has ended');
    const document = JSON.parse(stdout);
    expect(document.incomplete).toBe('the process ended');
    expect(document.regions).toHaveLength(document.totals.regions);
    expect(document.totals.regions).toBeGreaterThan(100);
    expect(document.totals.regions).toBeLessThan(PAGES / 2);
  });

  live('the process replaces its program in the middle', async () => {
    await using large = await startTarget('target', [PAGES]);
    const child = await half(large, false);
    const before = readFileSync(`/proc/${large.pid}/maps`, 'utf8');
    large.child.stdin.write('x');
    while (readFileSync(`/proc/${large.pid}/maps`, 'utf8') === before) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const { code, stdout, stderr } = await finish(child);
    expect(code).toBe(1);
    expect(stderr).toContain('replaced its program');
    expect(stdout).toMatch(/the process ended, so there may be more\n$/);
  });

  live('Ctrl-C ends it cleanly', async () => {
    await using large = await startTarget('target', [PAGES]);
    const child = await half(large, true);
    child.kill('SIGINT');
    const { code, stdout, stderr } = await finish(child);
    expect([code, stderr]).toEqual([130, '']);
    const document = JSON.parse(stdout);
    expect(document.incomplete).toBe('interrupted');
    expect(document.totals.regions).toBeLessThan(PAGES / 2);
  });

  live('a reader that goes away is no failure', async () => {
    await using large = await startTarget('target', [PAGES]);
    const child = await half(large, false);
    child.stdout.destroy();
    const { code, stderr } = await finish(child);
    expect([code, stderr]).toEqual([0, '']);
  });
});

describe('writing', () => {
  const through = (command: string) =>
    finish(spawn('sh', ['-c', `set -- '${process.execPath}' '${MAIN}'; ${command}`]));

  live.each(['maps', 'scan'])('a full disk is a failure that says so: %s', async (command) => {
    for (const json of ['', '--json']) {
      const { code, stderr } = await through(`"$@" ${command} ${target.pid} ${json} >/dev/full`);
      expect([code, stderr]).toEqual([1, 'pmscan: Cannot write the output: ENOSPC\n']);
    }
  });

  test('help and version survive a reader that goes away', async () => {
    for (const option of ['--help', '--version', 'help scan']) {
      const { stdout, stderr } = await through(`{ "$@" ${option}; echo "exit $?" >&2; } | true`);
      expect([stdout, stderr]).toEqual(['', 'exit 0\n']);
    }
  });

  test('the exit code survives a standard error that cannot be written', async () => {
    const { stdout } = await through(
      '"$@" scan 999999999 2>/dev/full; echo $?; "$@" nonsense 2>/dev/full; echo $?',
    );
    expect(stdout).toBe('3\n2\n');
  });
});

describe('doctor', () => {
  live('--json tells each capability, how it was found out, and the system', async () => {
    const { code, stdout, stderr } = await pmscan(['doctor', '--json']);
    expect([code, stderr]).toEqual([0, '']);
    const { schema, system, conclusions, capabilities, profile } = JSON.parse(stdout);
    expect(schema).toBe('pagemap-scan/doctor@1');
    expect(system.node).toContain(process.version);
    expect(conclusions).toHaveLength(6);
    expect(Object.keys(KERNEL_PROFILES)).toContain(profile.nearest);
    expect(profile.unexplained).toEqual([]);
    const ids = capabilities.map(({ id }: { id: string }) => id);
    expect(ids).toEqual([
      'pagemap-scan',
      'category-wpallowed',
      'category-written',
      'category-file',
      'category-present',
      'category-swapped',
      'category-pfnzero',
      'category-huge',
      'category-softdirty',
      'category-guard',
      'category-accessed',
      'fallback',
      'soft-dirty',
      'userfaultfd',
      'wp-async',
      'ptrace',
      'ptrace-others',
      'pidfd-getfd',
      'process-vm-readv',
      'hugetlb',
    ]);
    for (const { answer, how } of capabilities) {
      expect(['yes', 'no', 'unknown']).toContain(answer);
      expect(how).not.toBe('');
    }
    const find = (id: string) => capabilities.find((each: { id: string }) => each.id === id);
    const toldSoftDirty = find('fallback').how.includes('softdirty');
    expect(toldSoftDirty).toBe(find('soft-dirty').answer === 'yes');
    expect(find('fallback').how).not.toContain('wpallowed');
  });
});

describe('demo', () => {
  const shows = (stdout: string, zeroPage: boolean) => {
    for (const kind of ['only read', 'a file', 'shared', 'huge', 'guard', 'never touched'])
      expect(stdout).toContain(kind);
    expect(stdout).toMatch(zeroPage ? /0000000000000000 {2}only read/ : /▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓ {2}only read/);
    // A fork has to copy a page of the process's own, the zero page not.
    expect(stdout).toMatch(
      zeroPage
        ? /10,\d{3} pages \(39\.?\d* MiB\) in \d regions/
        : /11,\d{3} pages \(43\.?\d* MiB\) in \d regions/,
    );
    // The counter is one page of sixteen; the log was written somewhere in its middle.
    expect(stdout).toMatch(/a counter +[\d.]+ KiB {2}[1-9]{4}\.+\n/);
    expect(stdout).toMatch(/a log, front to back +[\d.]+ MiB {2}.*[1-9]/);
    expect(stdout).toMatch(/write working set of 1 interval: [\d.]+ MiB/);
  };

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
  )('shows all of it on a process, and leaves none', async () => {
    const { code, stdout, stderr } = await pmscan(['demo']);
    expect([code, stderr]).toEqual([0, '']);
    const sample = Number(/^A sample process \((\d+)\)/.exec(stdout)?.[1]);
    expect(readdirSync('/proc')).not.toContain(String(sample));
    shows(stdout, hasZeroPage());
  });

  test('shows the same on the simulator where the kernel cannot, and says so', async () => {
    const { code, stdout, stderr } = await pmscan(['demo'], {
      env: { PMSCAN_DISABLE_IOCTL: '1', PMSCAN_PROVIDER: 'ioctl' },
    });
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^A sample, SIMULATED because this kernel has no PAGEMAP_SCAN/);
    shows(stdout, true);
  });
});

test('help has examples for every command, and exits with 0', async () => {
  const { code, stdout } = await pmscan(['--help']);
  expect(code).toBe(0);
  for (const command of ['scan', 'maps', 'watch', 'run', 'doctor', 'demo']) {
    expect(stdout).toContain(`  ${command}`);
    const help = await pmscan([command, '--help']);
    expect([command, help.code]).toEqual([command, 0]);
    expect(help.stdout).toMatch(/Examples?:\n {2}pmscan/);
  }
  expect(stdout.split('\n').filter((line) => line.length > 80)).toEqual([]);
  expect((await pmscan(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});
