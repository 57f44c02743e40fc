/** `pmscan run`: scenarios on the simulator and on this kernel. */
import { lstatSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { pmscan } from '../support/cli.js';
import { testWhere } from '../support/needs.js';

const live = testWhere('pagemap-scan');

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-run-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('run', () => {
  const trace = join(import.meta.dirname, '../traces/6.18/anon.jsonl');

  test('--check: agreement is 0, a mismatch 1, with the operation and what stands around it', async () => {
    const good = await pmscan(['run', trace, '--check', '--json']);
    expect(good.code).toBe(0);
    expect(JSON.parse(good.stdout)).toEqual({
      schema: 'pagemap-scan/run@1',
      scenarios: 30,
      ops: 2302,
      scans: 666,
      mismatches: 0,
    });
    const bad = await pmscan(['run', trace, '--check', '--json', '--profile', '6.12']);
    expect(bad.code).toBe(1);
    const document = JSON.parse(bad.stdout);
    expect(document.mismatches).toBeGreaterThan(10);
    expect(document.first).toMatchObject({ line: 11, op: { op: 'scan' }, got: { errno: 'EINVAL' } });
    const text = await pmscan(['run', trace, '--check', '--profile', '6.12']);
    expect(text.stdout).toMatch(/line 11: .*\n {2}expected .*\n {2}got .*EINVAL/);
  });

  live('--profile here: the simulator is as this kernel', async () => {
    const scenario = `{"scenario":1,"name":"read","arena":"0x600000000000","arena_pages":16}
{"op":"mmap","at":0,"pages":4,"prot":"rw","type":"anon","sharing":"private"}
{"op":"read","at":0,"pages":1,"step":1}
{"op":"scan","size":96,"flags":0,"start":"0x600000000000","end":"0x600000004000","vec":true,"vec_len":9,"max_pages":0,"inverted":0,"mask":0,"anyof":0,"return":127}
{"op":"scan","size":96,"flags":0,"start":"0x600000000000","end":"0x600000004000","vec":true,"vec_len":9,"max_pages":0,"inverted":0,"mask":0,"anyof":0,"return":0,"gone":true}
`;
    const file = join(folder, 'here.jsonl');
    writeFileSync(file, scenario);
    const here = await pmscan(['run', file, '--profile', 'here']);
    expect([here.code, here.stderr]).toEqual([0, '']);
    expect(here.stdout).toBe((await pmscan(['run', file, '--on', 'kernel'])).stdout);
  });

  live('says in what this kernel differs from the one that was recorded', async () => {
    const file = join(folder, 'old.jsonl');
    writeFileSync(
      file,
      `{"scenario":1,"name":"old","kernel":"6.7.1","arena":"0x600000000000","arena_pages":16}
{"op":"munmap","at":0,"pages":1,"expect":{"ret":1}}
`,
    );
    const { code, stdout, stderr } = await pmscan(['run', file, '--on', 'kernel', '--check']);
    expect([code, stdout]).toEqual([1, expect.stringContaining('1 mismatch')]);
    expect(stderr).toMatch(
      /it was recorded on Linux 6\.7\.1; this kernel differs from it:\n {2}- scans know the categories up to/,
    );
  });

  live('on this kernel, and as a recording of it', async () => {
    const scenario = `{"scenario":1,"name":"draft","arena":"0x600000000000","arena_pages":16}
{"op":"mmap","at":0,"pages":4,"prot":"rw","type":"anon","sharing":"private"}
{"op":"write","at":0,"pages":3,"step":2}
{"op":"scan","size":96,"flags":0,"start":"0x600000000000","end":"0x600000004000","vec":true,"vec_len":9,"max_pages":0,"inverted":0,"mask":8,"anyof":0,"return":8}
`;
    const draft = join(folder, 'draft.jsonl');
    writeFileSync(draft, scenario);
    const recorded = await pmscan(['run', draft, '--on', 'kernel']);
    expect([recorded.code, recorded.stderr]).toEqual([0, '']);
    const lines = recorded.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines[2].expect).toEqual({ ok: 2, fault: 0 });
    expect(lines[3].expect.regions).toEqual([
      ['0x600000000000', '0x600000001000', 8],
      ['0x600000002000', '0x600000003000', 8],
    ]);
    writeFileSync(draft, recorded.stdout);
    for (const on of ['sim', 'kernel']) {
      expect(await pmscan(['run', draft, '--on', on, '--check'])).toMatchObject({
        code: 0,
        stdout: '1 scenario, 3 operations, 1 scan: no mismatches\n',
      });
    }
  });

  live('--shrink replaces a link, and not the file that it leads to', async () => {
    const file = join(folder, 'guard.jsonl');
    writeFileSync(
      file,
      `{"scenario":1,"name":"guard","arena":"0x600000000000","arena_pages":16}
{"op":"mmap","at":0,"pages":4,"type":"anon","sharing":"private","prot":"rw"}
{"op":"madvise","at":0,"pages":1,"advice":"guard_install"}
`,
    );
    const { stdout } = await pmscan(['run', file, '--on', 'kernel']);
    const recorded = join(folder, 'guard-recorded.jsonl');
    writeFileSync(recorded, stdout);
    // A profile that answers otherwise than this kernel.
    const profile = JSON.parse(stdout.trim().split('\n').at(-1)!).expect.ret === 0 ? '6.12' : '6.18';
    const [link, victim] = [join(folder, 'shrunk.jsonl'), join(folder, 'victim')];
    writeFileSync(victim, 'as it was');
    symlinkSync(victim, link);
    const args = ['run', recorded, '--check', '--profile', profile, '--shrink'];
    expect(await pmscan([...args, link])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('on which simulator and kernel differ'),
    });
    expect([readFileSync(victim, 'utf8'), lstatSync(link).isFile()]).toEqual(['as it was', true]);
    expect(readFileSync(link, 'utf8')).toContain('guard_install');
    expect(await pmscan([...args, join(folder, 'no-folder', 'out')])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('Cannot write'),
    });
  });

  test('what is no scenario says where', async () => {
    expect(await pmscan(['run', join(folder, 'nothing')])).toMatchObject({ code: 2, stdout: '' });
    const broken = join(folder, 'broken.jsonl');
    writeFileSync(
      broken,
      '{"scenario":1,"name":"x","arena":"0x600000000000","arena_pages":16}\n{"op":"fly"}\n',
    );
    const empty = join(folder, 'empty');
    writeFileSync(empty, '');
    expect(await pmscan(['run', empty, '--check'])).toMatchObject({ code: 2, stdout: '' });
    const { code, stderr } = await pmscan(['run', broken]);
    expect(code).toBe(2);
    expect(stderr).toContain('broken.jsonl:2:');
    const unable = await pmscan(['run', trace, '--on', 'kernel'], { env: { PMSCAN_DISABLE_IOCTL: '1' } });
    expect(unable.code).toBe(5);
  });
});
