/** The fallback on processes of real programs, against the ioctl; and the command by it. */
import { execFile } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { categoryNames, PAGE_IS_PFNZERO, PAGE_IS_WRITTEN } from '../../src/abi/index.js';
import {
  FallbackPagemap,
  IoctlPagemap,
  type LivePagemap,
  ProcessHandle,
  userSpaceEnd,
} from '../../src/live/index.js';
import { forEachRegion, scanLegs } from '../../src/query/index.js';
import { pmscan } from '../support/cli.js';
import { hasZeroPage } from '../support/facts.js';
import { available, testWhere } from '../support/needs.js';
import { freeze, startPostgres, startRedis, stopServers, testWithServer } from '../support/servers.js';
import { startTarget } from '../support/target.js';
import { undisturbed } from '../support/undisturbed.js';

const TIMEOUT_MS = 120_000;
const FALLBACK = { PMSCAN_PROVIDER: 'fallback' };

afterAll(stopServers);

function regionsOf(pagemap: LivePagemap, categories: number): string[] {
  const lines: string[] = [];
  forEachRegion(pagemap, { start: 0, end: userSpaceEnd(), returnMask: categories }, (start, end, found) => {
    lines.push(`${start.toString(16)}-${end.toString(16)} ${categoryNames(found).join(' ')}`);
  });
  return lines;
}

/** A process that stands still, by both: between two equal answers of the ioctl, what the fallback says is equal to them. */
async function expectAgreement(pid: number): Promise<void> {
  using _still = await freeze(pid);
  using ioctl = new IoctlPagemap(new ProcessHandle(pid));
  using fallback = new FallbackPagemap(new ProcessHandle(pid));
  const categories = fallback.categories & ioctl.categories;
  const { answer, expected } = await undisturbed(
    `Process ${pid}`,
    () => regionsOf(ioctl, categories),
    () => regionsOf(fallback, categories),
  );
  expect(answer).toEqual(expected);
  expect(answer.length).toBeGreaterThan(50);
}

describe('agrees with the ioctl on every page', () => {
  testWithServer('redis-server', 'pagemap-scan')(
    'of a Redis with data in it',
    async () => {
      await using redis = await startRedis();
      await redis.commands('DEBUG POPULATE 50000 key 500\n');
      await expectAgreement(redis.pid);
    },
    TIMEOUT_MS,
  );

  testWithServer('postgresql', 'pagemap-scan')(
    'of a Postgres with shared memory',
    async () => {
      await using postgres = await startPostgres('64MB');
      await expectAgreement(postgres.pid);
    },
    TIMEOUT_MS,
  );
});

describe('the command', () => {
  const here = testWhere('fallback', 'compiler');
  const asRoot = testWhere('fallback', 'compiler', 'root');

  here('scan and maps answer, and say what they do not know', async () => {
    await using target = await startTarget('target', [64]);
    const scan = await pmscan(
      [
        'scan',
        target.pid,
        '--where',
        'present',
        '--return',
        'present',
        '--range',
        `${target.start.toString(16)}+256K`,
        '--json',
      ],
      { env: FALLBACK },
    );
    expect(scan.code).toBe(0);
    const document = JSON.parse(scan.stdout);
    expect(document).toMatchObject({ provider: 'fallback', totals: { regions: 32, pages: 32 } });
    const text = await pmscan(['scan', target.pid], { env: FALLBACK });
    expect(text.stderr).toMatch(
      /^pmscan: told from pagemap and smaps, without PAGEMAP_SCAN; not known: .*written/,
    );
    const maps = await pmscan(['maps', target.pid, '--json'], { env: FALLBACK });
    expect([maps.code, maps.stderr]).toEqual([0, '']);
    expect(JSON.parse(maps.stdout).totals.present).toBeGreaterThan(32);
  });

  here('what cannot be known is exit code 5, and the message names it', async () => {
    await using target = await startTarget('target', [4]);
    const { code, stdout, stderr } = await pmscan(['scan', target.pid, '--where', 'written'], {
      env: FALLBACK,
    });
    expect([code, stdout]).toEqual([5, '']);
    expect(stderr).toContain('Cannot tell written pages');
  });

  const unkept = available('soft-dirty') ? (test.skip as unknown as typeof here) : here;
  unkept('watch is exit code 5 where the kernel keeps no soft-dirty bits', async () => {
    await using target = await startTarget('target', [4]);
    const { code, stdout, stderr } = await pmscan(['watch', target.pid], { env: FALLBACK });
    expect([code, stdout]).toEqual([5, '']);
    expect(stderr).toContain('CONFIG_MEM_SOFT_DIRTY');
  });

  here('doctor says who answers', async () => {
    const { code, stdout } = await pmscan(['doctor', '--json'], { env: FALLBACK });
    expect(code).toBe(0);
    const { conclusions } = JSON.parse(stdout);
    expect(conclusions[0]).toEqual({ what: expect.stringContaining('without PAGEMAP_SCAN'), answer: 'yes' });
  });

  asRoot('root is told of the zero page', async () => {
    await using target = await startTarget('target', [4]);
    using pagemap = new FallbackPagemap(new ProcessHandle(target.pid));
    expect(pagemap.categories & PAGE_IS_PFNZERO).toBe(hasZeroPage() ? PAGE_IS_PFNZERO : 0);
    expect(pagemap.categories & PAGE_IS_WRITTEN).toBe(0);
    const why = { start: 0, end: 4096, returnMask: PAGE_IS_PFNZERO };
    if (!hasZeroPage())
      expect(() => [...scanLegs(pagemap, why)]).toThrow(/EOPNOTSUPP.*which cannot be found here/);
  });

  asRoot('an ordinary user is told what takes root for it', async () => {
    // The package must be readable for that user, wherever this checkout lies.
    const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-fallback-'));
    try {
      chmodSync(folder, 0o755);
      const root = join(import.meta.dirname, '../..');
      for (const part of ['dist', 'node_modules/koffi', 'node_modules/@koromix']) {
        cpSync(join(root, part), join(folder, part), { recursive: true });
      }
      writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
      writeFileSync(
        join(folder, 'ask.mjs'),
        `import { openPagemap, RegionBuffer, userSpaceEnd } from './dist/index.js';
        const pagemap = openPagemap('self');
        const told = (returnMask) => {
          try {
            return pagemap.scan({ start: 0, end: userSpaceEnd(), returnMask }, new RegionBuffer(8)).regions;
          } catch ({ code, hint }) {
            return { code, hint };
          }
        };
        console.log(JSON.stringify({ present: told(8), zero: told(32), written: told(2), all: told(pagemap.categories) }));`,
      );
      const { stdout } = await promisify(execFile)(process.execPath, [join(folder, 'ask.mjs')], {
        uid: 65534,
        gid: 65534,
        env: { ...process.env, ...FALLBACK },
      });
      expect(JSON.parse(stdout)).toEqual({
        present: 8,
        zero: { code: 'EPERM', hint: expect.stringContaining('CAP_SYS_ADMIN') },
        written: { code: 'EOPNOTSUPP', hint: expect.stringContaining('tracking') },
        all: 8,
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('a provider that there is not is refused', async () => {
    const { code, stderr } = await pmscan(['maps', process.pid], { env: { PMSCAN_PROVIDER: 'magic' } });
    expect(code).toBe(1);
    expect(stderr).toContain('PMSCAN_PROVIDER must be ioctl or fallback');
  });
});
