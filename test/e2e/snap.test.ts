/** `pmscan snap` as a user meets it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { testWhere } from '../support/needs.js';
import { type PokedTarget, startPoked } from '../support/snapshot-target.js';
import { CoreReader } from '../support/torn.mjs';
import { until } from '../support/until.js';

const base = mkdtempSync(join(tmpdir(), 'pagemap-scan-snap-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

let folders = 0;
const newFolder = () => join(base, String(++folders));
const live = testWhere('pagemap-scan', 'wp-async', 'ptrace', 'compiler');
const PAGE = 4096;

const manifests = (folder: string): string[] => {
  try {
    return readdirSync(folder).filter((name) => /^snapshot-\d+$/.test(name));
  } catch {
    return [];
  }
};

/** A core file's bytes, but for the times that its threads have used: to stop them takes some of it. */
function withoutTimes(file: string): Buffer {
  const core = new CoreReader(file);
  const notes = core.segments.find(({ type }) => type === 4)!;
  const bytes = readFileSync(file);
  for (let at = notes.offset; at < notes.offset + notes.fileBytes; ) {
    const [name, content, kind] = [0, 4, 8].map((field) => bytes.readUInt32LE(at + field)) as [
      number,
      number,
      number,
    ];
    const contentAt = at + 12 + Math.ceil(name / 4) * 4;
    // PRSTATUS.
    if (kind === 1) bytes.fill(0, contentAt + 48, contentAt + 112);
    at = contentAt + Math.ceil(content / 4) * 4;
  }
  core.close();
  return bytes;
}

/** Takes snapshots while the target does something between them: one by a signal for each step. */
async function take(
  target: PokedTarget,
  folder: string,
  steps: readonly (() => Promise<void>)[],
  options: readonly string[] = [],
) {
  const child = startPmscan(['snap', String(target.pid), '-o', folder, '--every', '1h', ...options]);
  const done = finish(child);
  let count = 0;
  let lines = 0;
  child.stdout.on('data', (text: string) => {
    lines += text.split('\n').length - 1;
  });
  const taken = () => until('a snapshot', () => (lines > count ? true : child.exitCode !== null));
  await taken();
  for (const step of steps) {
    await step();
    count = lines;
    child.kill('SIGUSR1');
    await taken();
  }
  child.kill('SIGTERM');
  return await done;
}

describe('pmscan snap', () => {
  live('takes snapshots, which are what the process was, and tells them apart', async () => {
    await using target = await startPoked();
    const folder = newFolder();
    const address = target.start + 3 * PAGE + 100;
    const { code, stdout, stderr } = await take(target, folder, [
      () => target.poke(3 * PAGE + 100, 7),
      () => target.poke(3 * PAGE + 100, 7),
      () => target.poke(3 * PAGE + 100, 9),
    ]);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/took 4 snapshots; .* \(1 to 4\)/),
    });
    expect(stdout.trim().split('\n')).toHaveLength(4);
    // Secrets: nobody else's.
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o77).toBe(0);

    const list = JSON.parse((await pmscan(['snap', 'list', folder, '--json'])).stdout);
    expect(list).toMatchObject({ schema: 'pagemap-scan/snap-list@1', pid: target.pid });
    expect(list.snapshots).toMatchObject([
      { number: 1, threads: 3 },
      { number: 2 },
      { number: 3 },
      { number: 4 },
    ]);
    // Next to nothing: what the process wrote, and its stacks.
    for (const { changedPages } of list.snapshots.slice(1)) expect(changedPages).toBeLessThan(10);

    const history = await pmscan(['snap', 'history', folder, `${address.toString(16)}+1`, '--json']);
    expect(JSON.parse(history.stdout).entries).toMatchObject([
      { number: 1, bytes: '00', writtenSame: 0 },
      { number: 2, bytes: '07', writtenSame: 1 },
      { number: 4, bytes: '09', writtenSame: 0 },
    ]);

    const diff = JSON.parse(
      (await pmscan(['snap', 'diff', `${folder}@1`, `${folder}@2`, '--json', '--regions'])).stdout,
    );
    const mapping = diff.mappings.find(
      ({ start, end }: { start: string; end: string }) => Number(start) <= address && address < Number(end),
    );
    expect(mapping).toMatchObject({
      // Whose memory it is, is told by the snapshots alone.
      owner: expect.toBeOneOf([null, expect.any(String)]),
      changedBytes: 1,
      changedPages: 1,
      regions: [{ start: `0x${address.toString(16)}`, end: `0x${(address + 1).toString(16)}` }],
    });
    const same = JSON.parse((await pmscan(['snap', 'diff', `${folder}@2`, `${folder}@-2`, '--json'])).stdout);
    const rewritten = same.mappings.find(({ start }: { start: string }) => start === mapping.start);
    expect(rewritten).toMatchObject({ changedBytes: 0, rewrittenPages: 1 });
    const text = await pmscan(['snap', 'diff', `${folder}@1`, folder]);
    expect(text.stdout).toMatch(
      /^1 to 4: \d+ bytes? changed in \d+ pages?; \d+ pages? written with the same bytes$/m,
    );

    // What its pages were, as for a process.
    const where = ['scan', `${folder}@2`, '--where', 'written', '--mapping', '[anon]', '--json'];
    const written = JSON.parse((await pmscan(where)).stdout);
    expect(written).toMatchObject({
      schema: 'pagemap-scan/scan@1',
      pid: target.pid,
      provider: 'snapshot',
      snapshot: 2,
    });
    const page = `0x${(target.start + 3 * PAGE).toString(16)}`;
    expect(written.regions).toContainEqual(
      expect.objectContaining({ start: page, pages: 1, categories: ['wpallowed', 'written', 'present'] }),
    );
    expect((await pmscan(['scan', `${folder}@1`, '--where', 'written'])).code).toBe(5);
    const maps = async (of: string) =>
      JSON.parse((await pmscan(['maps', of, '--json'])).stdout).mappings.map(
        (row: { start: string; present: number; name: string }) => [row.start, row.present, row.name],
      );
    expect(await maps(`${folder}@latest`)).toEqual(await maps(String(target.pid)));
    expect((await pmscan(['maps', `${folder}@2`, '--pss'])).code).toBe(2);

    const bytes = join(base, 'bytes');
    await pmscan([
      'snap',
      'export',
      `${folder}@2`,
      `${address.toString(16)}+1`,
      `${target.start.toString(16)}+9K`,
      '-o',
      bytes,
    ]);
    const exported = readFileSync(bytes);
    expect([exported.length, exported[0], exported.readUInt32LE(1)]).toEqual([1 + 9 * 1024, 7, 1]);

    expect(await pmscan(['snap', 'verify', folder])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^4 snapshots, [\d,]+ pages: all as they were written$/m),
    });
  });

  live('writes the core file that pmscan core would have, byte for byte', async () => {
    await using target = await startPoked();
    const folder = newFolder();
    const [first, second] = [join(base, 'first'), join(base, 'second')];
    const filter = ['--filter', '7f', '--zero', '[stack]'];
    let compared = '';
    await take(
      target,
      folder,
      [
        () => target.poke(9 * PAGE, 1),
        async () => {
          // Of the process as it lies there, between two snapshots.
          const { code, stderr } = await pmscan(['core', target.pid, '--stop', '-o', first, ...filter]);
          expect({ code, stderr }).toMatchObject({ code: 0 });
        },
      ],
      filter,
    );
    for (const which of ['2', '3']) {
      const { code, stdout } = await pmscan(['snap', 'core', `${folder}@${which}`, '-o', second, '--json']);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        number: Number(which),
        file: second,
        bytes: statSync(second).size,
      });
      compared += Buffer.compare(withoutTimes(first), withoutTimes(second)) === 0 ? 'same ' : 'other ';
    }
    // What is never read is not there, and zero in the core file.
    const stack = JSON.parse((await pmscan(['maps', `${folder}@3`, '--json'])).stdout).mappings.find(
      ({ name }: { name: string }) => name === '[stack]',
    );
    const address = stack.start.slice(2);
    expect(
      await pmscan(['snap', 'export', `${folder}@3`, `${address}+8`, '-o', join(base, 'none')]),
    ).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('its content is not kept'),
    });
    expect(readdirSync(base)).not.toContain('none');
    // It ran to answer the poke, and once more to no purpose.
    expect(compared).toBe('same same ');
    expect(statSync(second).mode & 0o777).toBe(0o600);
  });

  live('keeps as many as it is told to, and ends by itself', async () => {
    await using target = await startPoked(1, 0);
    const folder = newFolder();
    const args = ['snap', target.pid, '-o', folder, '--every', '20ms'];
    const counted = await pmscan([...args, '--count', '5', '--keep', '2', '--json']);
    expect(counted.code).toBe(0);
    const lines = counted.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ schema, pid, number }) => [schema, pid, number])).toEqual(
      [1, 2, 3, 4, 5].map((number) => ['pagemap-scan/snap@1', target.pid, number]),
    );
    const timed = await pmscan([...args, '--for', '100ms', '--keep', '2']);
    expect(timed.code).toBe(0);
    const { snapshots } = JSON.parse((await pmscan(['snap', 'list', folder, '--json'])).stdout);
    expect(snapshots).toHaveLength(2);
    expect(snapshots[0].number).toBeGreaterThan(4);
    expect(snapshots[1].run).toBe(2);
  });

  live('ends with the process, and on Ctrl-C', async () => {
    await using target = await startPoked(1, 0);
    const folder = newFolder();
    const child = startPmscan(['snap', String(target.pid), '-o', folder, '--every', '50ms']);
    const done = finish(child);
    await until('two snapshots', () => manifests(folder).length >= 2);
    target.child.kill('SIGKILL');
    expect(await done).toMatchObject({ code: 0, stderr: expect.stringContaining('has ended') });
    expect((await pmscan(['snap', 'verify', folder])).code).toBe(0);

    await using other = await startPoked(1, 0);
    const second = startPmscan(['snap', String(other.pid), '-o', newFolder()]);
    const interrupted = finish(second);
    await until('a snapshot', () => manifests(join(base, String(folders))).length >= 1);
    second.kill('SIGINT');
    expect(await interrupted).toMatchObject({
      code: 130,
      stderr: expect.stringContaining('took 1 snapshot;'),
    });
  });

  live('refuses what cannot be', async () => {
    await using target = await startPoked(1, 0);
    const folder = newFolder();
    expect(await pmscan(['snap', target.pid])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('-o DIR'),
    });
    expect(
      await pmscan(['snap', target.pid, '-o', folder, '--keep', '2', '--keep-size', '1G']),
    ).toMatchObject({ code: 2 });
    expect(await pmscan(['snap', 2 ** 22 + 7, '-o', folder])).toMatchObject({ code: 3 });
    expect(await pmscan(['snap', 'list', folder])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('no such folder'),
    });
    const taken = await pmscan(['snap', target.pid, '-o', folder, '--count', '1']);
    expect(taken.code).toBe(0);
    await using other = await startPoked(1, 0);
    expect(await pmscan(['snap', other.pid, '-o', folder])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('of another process'),
    });
    expect(await pmscan(['snap', 'core', `${folder}@7`])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('there are 1 to 1'),
    });
    expect(await pmscan(['snap', 'export', `${folder}@1`, '1000+8', '-o', join(base, 'none')])).toMatchObject(
      { code: 1 },
    );
    // What was there before is lost only to something whole.
    const kept = join(base, 'kept');
    writeFileSync(kept, 'from before');
    expect(await pmscan(['snap', 'export', `${folder}@1`, '1000+8', '-o', kept])).toMatchObject({ code: 1 });
    expect(readFileSync(kept, 'utf8')).toBe('from before');
    for (const command of [
      ['core', `${folder}@1`],
      ['export', `${folder}@1`, '1000+8'],
    ])
      expect(await pmscan(['snap', ...command, '-o', '/dev/null'])).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('it is not a regular file'),
      });
    expect(await pmscan(['snap', 'core', `${folder}@1`, '-o', '-'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('name a file'),
    });
    expect(await pmscan(['snap', 'history', folder, 'xyz'])).toMatchObject({ code: 2 });
    const name = join(folder, 'data-00000001');
    const bytes = readFileSync(name);
    bytes[200]! ^= 1;
    writeFileSync(name, bytes);
    expect(await pmscan(['snap', 'verify', folder, '--json'])).toMatchObject({ code: 1 });
  });
});
