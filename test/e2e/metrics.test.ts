/** `--metrics` of `pmscan record` and `pmscan serve`: scraped by Prometheus itself, pushed to a collector, clear where it cannot be. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../../src/abi/index.js';
import { finish, pmscan, startPmscan } from '../support/cli.js';
import { PROMETHEUS, testWhere } from '../support/needs.js';
import { until } from '../support/until.js';
import { startWrites } from '../support/writes.js';

const ROOT = join(import.meta.dirname, '../..');
const needs = ['pagemap-scan', 'wp-async', 'ptrace', 'compiler'];
const live = testWhere(...needs);
const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-metrics-'));
/** What a failed test leaves. */
const children: ChildProcess[] = [];
afterAll(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** Starts a command with `--metrics` on a free port; where it can be scraped. */
async function startMetrics(command: 'record' | 'serve', ...pids: number[]) {
  const how = ['--metrics', '127.0.0.1:0', '--interval', '20ms', '--budget', '100%'];
  const child = startPmscan([command, ...pids.map(String), ...how]);
  children.push(child);
  let stderr = '';
  let stdout = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const url = await until('the address', async () => /metrics at (\S+)/.exec(stderr)?.[1]);
  return { child, url, stdout: () => stdout, stderr: () => stderr };
}

/** A series' value in the exposition, by the labels that it must have. */
function sample(
  text: string,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  let sum: number | undefined;
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${name}{`)) continue;
    if (!Object.entries(labels).every(([key, value]) => line.includes(`${key}="${value}"`))) continue;
    sum = (sum ?? 0) + Number(line.slice(line.lastIndexOf(' ')));
  }
  return sum;
}

/**
 * So many pages, each counted once, but for one more for each collect that came between a write's page fault and the write itself: see
 * `ProcessTracker.collect`.
 */
function expectPages(bytes: number, pages: number): void {
  expect(bytes % PAGE_SIZE).toBe(0);
  expect(bytes / PAGE_SIZE).toBeGreaterThanOrEqual(pages);
  expect(bytes / PAGE_SIZE).toBeLessThan(pages * 1.5);
}

const scrape = async (url: string) => (await fetch(url)).text();

describe('scraped', () => {
  live('counts exactly what was written', async () => {
    await using target = await startWrites();
    await target.order('map 1 memfd 512');
    await target.order('write 1 0 512 1');
    const { child, url } = await startMetrics('record', target.pid);
    const shared = { pmscan_mapping_kind: 'shared' };
    const written = async () => sample(await scrape(url), 'pmscan_memory_written_total', shared) ?? 0;
    await until(
      'metrics',
      async () => (sample(await scrape(url), 'pmscan_intervals_total') ?? 0) || undefined,
    );
    const before = await written();
    await target.order('write 1 3 100 5');
    await until('metrics', async () => (await written()) - before >= 100 * PAGE_SIZE);
    expectPages((await written()) - before, 100);
    const text = await scrape(url);
    expect(text).toContain(`process_pid="${target.pid}"`);
    expect(text).toContain('process_executable_name="writes"');
    expect(sample(text, 'pmscan_memory_pages', { ...shared, pmscan_page_kind: 'file' })).toBe(512);
    expect(sample(text, 'pmscan_memory_write_working_set', { pmscan_window: '1m' })).toBeGreaterThan(0);
    expect(sample(text, 'pmscan_memory_owned', { pmscan_owner_kind: 'stack' })).toBeGreaterThan(0);
    expect(sample(text, 'pmscan_target_cost_total')).toBeGreaterThan(0);
    expect(text).toMatch(/^# TYPE pmscan_collect_duration histogram$/m);
    // The second is no address, if one takes it apart.
    for (const path of ['/', '//']) expect((await fetch(url.replace('/metrics', path))).status).toBe(404);
    // A page of another site may have its own name stand for this machine.
    const { hostname, port } = new URL(url);
    for (const [host, status] of [
      [`elsewhere.example:${port}`, 421],
      [`localhost:${port}`, 200],
    ] as const) {
      const asked = request({ hostname, port, path: '/metrics', headers: { host } }).end();
      const [answer] = (await once(asked, 'response')) as [IncomingMessage];
      answer.resume();
      expect(answer.statusCode).toBe(status);
    }
    child.kill('SIGTERM');
    expect((await finish(child)).code).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
  });

  live('serve tells of the processes it was given, with no page open, until they end', async () => {
    await using one = await startWrites();
    await using two = await startWrites();
    for (const { order } of [one, two]) {
      await order('map 1 memfd 512');
      await order('write 1 0 512 1');
    }
    const { child, url, stdout, stderr } = await startMetrics('serve', one.pid, two.pid, one.pid);
    const written = async ({ pid }: { pid: number }) =>
      sample(await scrape(url), 'pmscan_memory_written_total', {
        process_pid: String(pid),
        pmscan_mapping_kind: 'shared',
      }) ?? 0;
    const begun = async ({ pid }: { pid: number }) =>
      sample(await scrape(url), 'pmscan_intervals_total', { process_pid: String(pid) });
    await until('both series', async () => (await begun(one)) && (await begun(two)));
    const before = [await written(one), await written(two)];
    await one.order('write 1 3 100 5');
    await two.order('write 1 7 200 2');
    await until('metrics', async () => (await written(one)) - before[0]! >= 100 * PAGE_SIZE);
    await until('metrics', async () => (await written(two)) - before[1]! >= 200 * PAGE_SIZE);
    expectPages((await written(one)) - before[0]!, 100);
    expectPages((await written(two)) - before[1]!, 200);
    const text = await scrape(url);
    // Of two processes, and still one family.
    expect(text.match(/^# TYPE pmscan_memory_written_total /gm)).toHaveLength(1);
    for (const [window, least] of [
      // On a machine that has much else to do, the writes may be longer ago.
      ['10s', 0],
      ['1m', 200 * PAGE_SIZE],
      ['10m', 200 * PAGE_SIZE],
    ] as const) {
      const labels = { process_pid: String(two.pid), pmscan_window: window };
      expect(sample(text, 'pmscan_memory_write_working_set', labels)).toBeGreaterThanOrEqual(least);
    }
    expect(
      sample(text, 'pmscan_memory_distinct_written', { process_pid: String(two.pid) }),
    ).toBeGreaterThanOrEqual(200 * PAGE_SIZE);
    expect(
      sample(text, 'pmscan_memory_pages', {
        process_pid: String(one.pid),
        pmscan_mapping_kind: 'shared',
        pmscan_page_kind: 'file',
      }),
    ).toBe(512);
    // The page is there as ever, and picks up what is tracked already.
    const page = await until('the page', async () => /^http\S+/.exec(stdout())?.[0]);
    const stream = await fetch(`${page}stream?pid=${one.pid}`);
    const reader = stream.body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toContain('"state":"on"');
    await reader.cancel();
    await two[Symbol.asyncDispose]();
    await until('metrics', async () => (await begun(two)) === undefined);
    expect(await begun(one)).toBeGreaterThan(0);
    expect(stderr()).toContain(`writes ${two.pid}: its metrics end`);
    child.kill('SIGINT');
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
    await expect(fetch(url)).rejects.toThrow();
  });

  testWhere(...needs, 'prometheus').each(['record', 'serve'] as const)(
    '%s by Prometheus, which answers questions about it',
    async (command) => {
      await using target = await startWrites();
      await target.order('map 1 memfd 512');
      const { child, url } = await startMetrics(command, target.pid);
      const home = mkdtempSync(join(folder, 'prometheus-'));
      const config = {
        global: { scrape_interval: '100ms', scrape_timeout: '100ms' },
        scrape_configs: [{ job_name: 'pmscan', static_configs: [{ targets: [new URL(url).host] }] }],
      };
      // JSON is YAML.
      writeFileSync(join(home, 'prometheus.yml'), JSON.stringify(config));
      const port = await freePort();
      const server = spawn(
        PROMETHEUS,
        [
          `--config.file=${join(home, 'prometheus.yml')}`,
          `--storage.tsdb.path=${join(home, 'data')}`,
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        { stdio: 'ignore' },
      );
      try {
        const ask = async (
          query: string,
        ): Promise<{ metric: Record<string, string>; value: [number, string] }[]> => {
          const address = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`;
          try {
            const { data } = (await (await fetch(address)).json()) as { data?: { result: never[] } };
            return data?.result ?? [];
          } catch {
            // It is not up yet.
            return [];
          }
        };
        await until('metrics', async () => (await ask('pmscan_intervals_total')).length > 0);
        await target.order('write 1 0 512 1');
        const query = 'sum by (process_pid) (pmscan_memory_written_total{pmscan_mapping_kind="shared"})';
        const [answer] = await until('metrics', async () => {
          const result = await ask(query);
          return Number(result[0]?.value[1]) >= 512 * PAGE_SIZE ? result : undefined;
        });
        expect(answer!.metric).toEqual({ process_pid: String(target.pid) });
        // Every query of the dashboard has an answer, once there are two scrapes to tell a rate by.
        for (const { title, query } of command === 'record' ? dashboardQueries() : []) {
          const found = await until(title, async () => {
            const result = await ask(query);
            return result.length > 0 && result;
          });
          expect(
            found.every(({ value }) => Number(value[1]) >= 0),
            `${title}: ${query}`,
          ).toBe(true);
        }
      } finally {
        const gone = once(server, 'exit');
        server.kill('SIGTERM');
        await gone;
        child.kill('SIGTERM');
        await finish(child);
      }
    },
  );
});

/** The queries of the dashboard's panels, as Grafana asks them when nothing is chosen. */
function dashboardQueries(): { title: string; query: string }[] {
  const { panels } = JSON.parse(readFileSync(join(ROOT, 'docs/dashboards/pmscan.json'), 'utf8')) as {
    panels: { title: string; targets: { expr: string }[] }[];
  };
  expect(panels.length).toBeGreaterThan(5);
  return panels.flatMap(({ title, targets }) =>
    targets.map(({ expr }) => ({
      title,
      query: expr.replaceAll('$__rate_interval', '30s').replaceAll(/\$(host|process|pid)\b/g, '.*'),
    })),
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('pushed', () => {
  live('to the collector that the environment names, and at the end what is left', async () => {
    await using target = await startWrites();
    const bodies: Buffer[] = [];
    const types: unknown[] = [];
    const collector = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        bodies.push(Buffer.concat(chunks));
        types.push([request.method, request.url, request.headers['content-type']]);
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      });
    }).listen(0, '127.0.0.1');
    await once(collector, 'listening');
    const { port } = collector.address() as AddressInfo;
    try {
      const child = startPmscan(
        ['record', String(target.pid), '--metrics', 'push', '--interval', '20ms', '--budget', '100%'],
        {
          env: {
            OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
            OTEL_METRIC_EXPORT_INTERVAL: '1000',
            OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=testing',
          },
        },
      );
      await target.order('map 1 anon 64');
      const finished = finish(child);
      // What is written before the tracking begins does not count.
      while (bodies.length === 0) {
        await target.order('write 1 0 64 1');
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.kill('SIGTERM');
      const { code, stderr } = await finished;
      expect([code, stderr]).toEqual([0, expect.not.stringContaining('metrics:')]);
      expect(bodies.length).toBeGreaterThan(1);
      expect(types[0]).toEqual(['POST', '/v1/metrics', 'application/x-protobuf']);
      const last = bodies.at(-1)!.toString('latin1');
      for (const part of [
        'pmscan.memory.written',
        'By',
        'pmscan.mapping.kind',
        'process.pid',
        'deployment.environment.name',
        'testing',
      ]) {
        expect(last).toContain(part);
      }
    } finally {
      collector.close();
    }
  });

  live('a collector that is not there costs nothing but a message', async () => {
    await using target = await startWrites();
    const { code, stderr } = await pmscan(
      ['record', target.pid, '--metrics', 'push', '--interval', '20ms', '--duration', '100ms'],
      {
        env: { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1', OTEL_EXPORTER_OTLP_TIMEOUT: '500' },
      },
    );
    expect(code).toBe(0);
    expect(stderr).toMatch(/^pmscan: metrics: .*127\.0\.0\.1:1/m);
  });
});

describe('what goes wrong', () => {
  test.each([
    { args: ['record', '--metrics', '1'], says: 'put the process before the option' },
    { args: ['record', '1', '--metrics', 'push'], says: 'set OTEL_EXPORTER_OTLP_ENDPOINT' },
    { args: ['record', '1', '--metrics', 'localhost:99999'], says: 'Give an address' },
    { args: ['serve', '--metrics', '1'], says: 'put the process before the option' },
    { args: ['serve', '--metrics'], says: 'pmscan serve redis-server --metrics' },
    { args: ['serve', '1', '--metrics', 'push'], says: 'set OTEL_EXPORTER_OTLP_ENDPOINT' },
  ])('$args', async ({ args, says }) => {
    const { code, stderr } = await pmscan(args, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: '' } });
    expect(code).toBe(2);
    expect(stderr).toContain(says);
  });

  test('a process that is not there', async () => {
    const { code, stderr } = await pmscan(['serve', '4194399', '--metrics', '127.0.0.1:0']);
    expect([code, stderr]).toEqual([3, expect.stringContaining('no such process')]);
  });

  live('a port that is in use', async () => {
    await using target = await startWrites();
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { code, stderr } = await pmscan(['record', target.pid, '--metrics', `127.0.0.1:${port}`]);
    expect(code).toBe(1);
    expect(stderr).toContain('it is in use; choose another port');
    server.close();
  });

  testWhere('pagemap-scan')('without the packages, which are optional', async () => {
    // The command as it is, where they cannot be found.
    const home = join(folder, 'bare');
    mkdirSync(join(home, 'node_modules'), { recursive: true });
    cpSync(join(ROOT, 'dist'), join(home, 'dist'), { recursive: true });
    cpSync(join(ROOT, 'package.json'), join(home, 'package.json'));
    for (const name of [
      'commander',
      'koffi',
      '@koromix',
      'picocolors',
      'string-width',
      'get-east-asian-width',
      'strip-ansi',
      'ansi-regex',
      'emoji-regex',
      'hyparquet',
      'hyparquet-writer',
    ]) {
      const from = join(ROOT, 'node_modules', name);
      if (existsSync(from)) cpSync(from, join(home, 'node_modules', name), { recursive: true });
    }
    for (const command of ['record', 'serve']) {
      const main = join(home, 'dist/cli/main.js');
      const child = spawn(process.execPath, [main, command, String(process.pid), '--metrics']);
      const { code, stderr } = await finish(child);
      expect([command, code]).toEqual([command, 1]);
      expect(stderr).toContain('npm install @opentelemetry/api');
    }
  });
});
