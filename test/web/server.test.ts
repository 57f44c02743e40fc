/** The page's server as an enemy finds it: on the same machine, in another tab, behind a name that turns to us. */
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { PageModel, StreamMessage } from '../../src/model/index.js';
import { PageServer, Stream } from '../../src/web/server.js';
import { openDescriptors } from '../support/descriptors.js';
import { hasZeroPage, scenePages } from '../support/facts.js';
import { testWhere } from '../support/needs.js';
import { seizeByAnother } from '../support/seized.js';
import { startTarget, type Target } from '../support/target.js';
import { until } from '../support/until.js';

const TOKEN = 'the-word-of-these-tests';
const servers: PageServer[] = [];
/** Anonymous pages of the target's mapping of which all is known. */
const [[, ANONYMOUS]] = scenePages({ zeroPage: hasZeroPage(), guards: true });

async function startServer(graceMs = 50): Promise<{ server: PageServer; port: number }> {
  const server = new PageServer({
    host: '127.0.0.1',
    port: 0,
    intervalMs: 50,
    pids: [],
    graceMs,
    token: TOKEN,
  });
  await server.listen();
  servers.push(server);
  return { server, port: Number(new URL(server.url).port) };
}

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

function ask(
  port: number,
  path: string,
  { method = 'GET', headers = {} }: { method?: string; headers?: Record<string, string> } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    // No agent: no connection is left for later.
    const asked = request({ port, path, method, headers, agent: false }, async (answer) => {
      const chunks: Buffer[] = [];
      for await (const chunk of answer) chunks.push(chunk as Buffer);
      resolve({ status: answer.statusCode!, headers: answer.headers, body: Buffer.concat(chunks) });
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** What an open stream tells; `close` lets go of it. */
async function openStream(port: number, pid: number) {
  const asked = request({ port, path: `/${TOKEN}/stream?pid=${pid}`, agent: false });
  asked.end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  const messages: StreamMessage[] = [];
  let rest = '';
  answer.setEncoding('utf8').on('data', (text: string) => {
    rest += text;
    const parts = rest.split('\n\n');
    rest = parts.pop()!;
    for (const part of parts) if (part.startsWith('data: ')) messages.push(JSON.parse(part.slice(6)));
  });
  answer.on('error', () => undefined);
  return { status: answer.statusCode!, messages, close: () => asked.destroy() };
}

/** What a tracker would have left behind in a process. */
function tracesIn(pid: number): string[] {
  const fds = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`));
  const flags = readFileSync(`/proc/${pid}/smaps`, 'utf8').match(/^VmFlags:.*\bu[wm]\b.*$/gm) ?? [];
  const tracer = /^TracerPid:\t(?!0$).*$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return [...fds.filter((name) => name.includes('userfaultfd')), ...flags, ...tracer];
}

describe('who may ask', () => {
  test('only who knows the word', async () => {
    const { port } = await startServer();
    expect((await ask(port, `/${TOKEN}/`)).status).toBe(200);
    const wrong = [
      '',
      TOKEN.slice(0, -1),
      `${TOKEN}x`,
      TOKEN.toUpperCase(),
      'the-word-of-these-testt',
      '%00',
      '..',
    ];
    for (const word of wrong) {
      for (const file of ['', 'page.js', 'processes', 'stream?pid=1', 'report?pid=1']) {
        const { status, body } = await ask(port, `/${word}/${file}`);
        expect([word, file, status]).toEqual([word, file, 404]);
        expect(body.toString()).not.toContain(TOKEN);
      }
    }
    expect((await ask(port, '/')).status).toBe(404);
    expect((await ask(port, `/${TOKEN}`)).headers.location).toBe(`/${TOKEN}/`);
  });

  test('a random word is long, and another one each time', () => {
    const words = Array.from({ length: 50 }, () => {
      const server = new PageServer({ host: '127.0.0.1', port: 0, intervalMs: 1000, pids: [] });
      return server.token;
    });
    expect(new Set(words).size).toBe(50);
    expect(words.every((word) => word.length >= 24)).toBe(true);
  });

  test('a name is the same in capitals, which clients do not keep', async () => {
    const server = new PageServer({ host: 'LOCALHOST', port: 0, intervalMs: 50, pids: [], token: TOKEN });
    await server.listen();
    servers.push(server);
    const port = Number(new URL(server.url).port);
    expect((await ask(port, `/${TOKEN}/`, { headers: { host: `localhost:${port}` } })).status).toBe(200);
  });

  test('no name but ours: DNS that was turned to us finds nothing', async () => {
    const { port } = await startServer();
    const status = async (host: string) => (await ask(port, `/${TOKEN}/`, { headers: { host } })).status;
    expect(await status(`127.0.0.1:${port}`)).toBe(200);
    expect(await status(`localhost:${port}`)).toBe(200);
    const foreign = ['evil.example', `evil.example:${port}`, '127.0.0.1', `127.0.0.1:${port}.evil.example`];
    for (const host of [...foreign, `127.0.0.1:${port + 1}`, `127.0.0.2:${port}`]) {
      expect([host, await status(host)]).toEqual([host, 421]);
    }
  });

  test('nothing of another origin or site', async () => {
    const { port } = await startServer();
    const status = async (headers: Record<string, string>) =>
      (await ask(port, `/${TOKEN}/processes`, { headers: { host: `127.0.0.1:${port}`, ...headers } })).status;
    expect(await status({ origin: `http://127.0.0.1:${port}` })).toBe(200);
    expect(await status({ 'sec-fetch-site': 'same-origin' })).toBe(200);
    for (const origin of [
      'http://evil.example',
      'null',
      `https://127.0.0.1:${port}`,
      `http://127.0.0.1:${port + 1}`,
    ]) {
      expect([origin, await status({ origin })]).toEqual([origin, 403]);
    }
    for (const site of ['cross-site', 'same-site'])
      expect(await status({ 'sec-fetch-site': site })).toBe(403);
  });

  test('reading only, and every answer says what browsers must not do with it', async () => {
    const { port } = await startServer();
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, body } = await ask(port, `/${TOKEN}/`, { method });
      expect([status, String(body)]).toEqual([405, 'This server answers GET and HEAD requests only\n']);
    }
    for (const path of ['', 'page.js', 'page.css', 'processes', 'nothing']) {
      const { headers } = await ask(port, `/${TOKEN}/${path}`);
      const policy = headers['content-security-policy'];
      expect(policy).toContain("default-src 'none'");
      expect(policy).not.toContain('unsafe');
      expect(policy).toContain("frame-ancestors 'none'");
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['referrer-policy']).toBe('no-referrer');
      expect(headers['access-control-allow-origin']).toBeUndefined();
    }
  });

  test('no file of the machine', async () => {
    const { port } = await startServer();
    const climbs = [
      '../package.json',
      '../../../../etc/passwd',
      '%2e%2e/%2e%2e/etc/passwd',
      '..%2f..%2fetc%2fpasswd',
    ];
    for (const path of [
      ...climbs,
      '/etc/passwd',
      'page.js/../../cli/main.js',
      'page.js%00',
      './page.js',
      '\\..\\x',
    ]) {
      const { status, body } = await ask(port, `/${TOKEN}/${path}`);
      expect([path, status]).toEqual([path, 404]);
      expect(body.toString()).toBe('Not found\n');
    }
  });

  test('what is asked for is checked', async () => {
    const { port } = await startServer();
    for (const pid of ['', '0', '-1', '1e3', '../1', '1/../2', '99999999999', '1;2']) {
      expect((await ask(port, `/${TOKEN}/stream?pid=${encodeURIComponent(pid)}`)).status).toBe(400);
    }
  });

  testWhere('fallback')('of what is there', async () => {
    const { port } = await startServer();
    const { status, body } = await ask(port, `/${TOKEN}/stream?pid=${2 ** 22 + 5}`);
    expect([status, body.toString()]).toEqual([409, 'there is no such process\n']);
    expect((await ask(port, `/${TOKEN}/tiles?pid=1&cell=4096&t=0.0`)).status).toBe(409);
  });
});

/** A C program that is looked at, quiet unless told to write. */
function startScene(...args: (string | number)[]): Promise<Target> {
  return startTarget('scene', args.length === 0 ? ['quiet'] : args, { flags: ['-pthread'] });
}

const column = (messages: readonly StreamMessage[]) => messages.find((message) => message.type === 'column');

describe('what is left', () => {
  testWhere('pagemap-scan', 'compiler')('tiles are checked, and of the size that was asked for', async () => {
    await using target = await startScene();
    const { port } = await startServer();
    const stream = await openStream(port, target.pid);
    await until('the model', () => stream.messages.length > 0);
    const tiles = (query: string) => ask(port, `/${TOKEN}/tiles?pid=${target.pid}&${query}`);
    const start = target.start.toString(16);
    for (const wrong of [
      'cell=4095&t=0.0',
      'cell=0&t=0.0',
      'cell=-4096&t=0.0',
      'cell=NaN&t=0.0',
      'cell=4096&t=x.0',
    ]) {
      expect([wrong, (await tiles(wrong)).status]).toEqual([wrong, 400]);
    }
    const { body } = await tiles(`cell=4096&t=${start}.0,${start}.7fffffff,123000.0`);
    expect([body.readUInt32LE(0), body.readUInt32LE(4), body.readUInt32LE(8)]).toEqual([64, 0, 0xffffffff]);
    expect(body.length).toBe(12 + 64 * 2);
    const many = Array.from({ length: 500 }, () => `${start}.0`).join(',');
    expect((await tiles(`cell=4096&t=${many}`)).body.length).toBeLessThan(20_000);
    stream.close();
  });

  testWhere('pagemap-scan', 'compiler')('what there is can be saved as a report', async () => {
    await using target = await startScene();
    const { port } = await startServer();
    expect((await ask(port, `/${TOKEN}/report?pid=${target.pid}`)).status).toBe(409);
    const stream = await openStream(port, target.pid);
    await until('a layout', () => stream.messages.some(({ type }) => type === 'layout'));
    const { status, headers, body } = await ask(port, `/${TOKEN}/report?pid=${target.pid}`);
    expect([status, headers['content-disposition']]).toEqual([
      200,
      `attachment; filename="pmscan-${target.pid}.html"`,
    ]);
    const [, json] = /<script type="application\/json" id="model">(.*)<\/script>/.exec(body.toString())!;
    const model = JSON.parse(json!) as PageModel;
    const known = model.layout!.mappings.find(({ start }) => start === target.start)!;
    expect(known.pages![1]).toBe(ANONYMOUS);
    expect(known.grid!.cellBytes).toBe(4096);
    expect(body.toString()).not.toContain(TOKEN);
    stream.close();
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'compiler',
  )('a process is tracked while a page looks at it, and nothing of that remains', async () => {
    await using target = await startScene();
    const before = openDescriptors();
    expect(tracesIn(target.pid)).toEqual([]);
    const { server, port } = await startServer();
    const first = await openStream(port, target.pid);
    const second = await openStream(port, target.pid);
    await until(
      'columns',
      () => column(first.messages) !== undefined && column(second.messages) !== undefined,
    );
    expect(server.sessions).toBe(1);
    // Registered with our userfaultfd: that is what must go away.
    expect(tracesIn(target.pid).length).toBeGreaterThan(0);
    first.close();
    await until('the end of one stream', () => server.streams === 1);
    expect(server.sessions).toBe(1);
    second.close();
    await until('the end of the session', () => server.sessions === 0 && server.streams === 0);
    await until('no traces', () => tracesIn(target.pid).length === 0);
    await server.close();
    await until('no descriptors', () => openDescriptors().join() === before.join());
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'compiler',
  )('a server that closes ends its trackers at once', async () => {
    await using target = await startScene();
    const { server, port } = await startServer(60_000);
    const stream = await openStream(port, target.pid);
    await until('a column', () => column(stream.messages) !== undefined);
    await server.close();
    expect(tracesIn(target.pid)).toEqual([]);
  });

  testWhere(
    'pagemap-scan',
    'wp-async',
    'ptrace',
    'compiler',
  )('the end of a process is told, with what was seen', async () => {
    const target = await startScene();
    const { port } = await startServer();
    const stream = await openStream(port, target.pid);
    await until('a column', () => column(stream.messages) !== undefined);
    await target[Symbol.asyncDispose]();
    await until('the end', () =>
      stream.messages.some((message) => message.type === 'tracking' && message.tracking.state === 'ended'),
    );
    const again = await openStream(port, target.pid);
    await until('the model', () => again.messages.length > 0);
    const [first] = again.messages;
    expect(first?.type === 'model' && first.model.layout!.mappings.length).toBeGreaterThan(10);
    stream.close();
    again.close();
  });

  testWhere(
    'pagemap-scan',
    'ptrace',
    'compiler',
  )('where writes cannot be tracked, the layout is there, and the reason', async () => {
    await using target = await startScene();
    await using _tracer = await seizeByAnother(target.pid);
    const { port } = await startServer();
    const stream = await openStream(port, target.pid);
    await until('the reason', () =>
      stream.messages.some((message) => message.type === 'tracking' && message.tracking.state === 'off'),
    );
    const told = stream.messages.find((message) => message.type === 'tracking');
    expect(told?.tracking.why).toMatch(/traces it, a debugger or strace/);
    const layout = stream.messages.find((message) => message.type === 'layout');
    expect(layout?.changed.find(({ start }) => start === target.start)?.pages?.[1]).toBe(ANONYMOUS);
    const list = JSON.parse((await ask(port, `/${TOKEN}/processes`)).body.toString());
    const entry = list.processes.find(({ pid }: { pid: number }) => pid === target.pid);
    expect(entry.untracked).toMatch(/traces it/);
    stream.close();
  });
});

describe('slow and many', () => {
  test('a client that never reads gets no more than fits, and is let go', () => {
    const written: string[] = [];
    const events = new Map<string, () => void>();
    let destroyed = false;
    const deaf = {
      get writableLength() {
        return written.reduce((sum, text) => sum + text.length, 0);
      },
      write: (text: string) => written.push(text) > 0,
      on: (name: string, listener: () => void) => void events.set(name, listener),
      destroy: () => {
        destroyed = true;
      },
    };
    const model = { schema: 'x' } as unknown as PageModel;
    const stream = new Stream(deaf as unknown as ConstructorParameters<typeof Stream>[0], {
      model: () => model,
    });
    const message = JSON.stringify({ type: 'column', filler: 'x'.repeat(10_000) });
    for (let count = 0; count < 10_000; count++) stream.take(message);
    expect(deaf.writableLength).toBeLessThan(1.1 * 2 ** 20);
    expect(destroyed).toBe(false);
    // It reads after all: everything anew, and then what comes.
    written.length = 0;
    events.get('drain')!();
    stream.take('{"type":"after"}');
    expect(written.map((text) => JSON.parse(text.slice(6)).type)).toEqual(['model', 'after']);
    stream.close();
  });

  test('a client that reads slowly, or little, is not taken for one that has gone', () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] });
    try {
      const written: string[] = [];
      let waiting = 0;
      let destroyed = false;
      const slow = {
        get writableLength() {
          return waiting;
        },
        write: (text: string) => written.push(text) > 0,
        on: () => undefined,
        destroy: () => {
          destroyed = true;
        },
      };
      const model = { schema: 'x' } as unknown as PageModel;
      const stream = new Stream(slow as unknown as ConstructorParameters<typeof Stream>[0], {
        model: () => model,
      });
      // So little waits when it is looked at that Node does not say when it has been read.
      waiting = 2000;
      vi.advanceTimersByTime(10_000);
      stream.take('{"type":"missed"}');
      waiting = 0;
      vi.advanceTimersByTime(10_000);
      stream.take('{"type":"after"}');
      const types = written
        .filter((text) => text.startsWith('data'))
        .map((text) => JSON.parse(text.slice(6)).type);
      expect(types).toEqual(['model', 'model', 'after']);
      // A model of 8 MB takes a line of 2 Mbit/s half a minute.
      waiting = 8 << 20;
      vi.advanceTimersByTime(60_000);
      expect(destroyed).toBe(false);
      vi.advanceTimersByTime(600_000);
      expect(destroyed).toBe(true);
      stream.close();
    } finally {
      vi.useRealTimers();
    }
  });

  testWhere('pagemap-scan', 'compiler')('streams are limited', async () => {
    await using target = await startScene();
    const { server, port } = await startServer();
    const streams = await Promise.all(Array.from({ length: 60 }, () => openStream(port, target.pid)));
    expect(streams.filter(({ status }) => status === 200).length).toBe(48);
    expect(streams.filter(({ status }) => status === 503).length).toBe(12);
    for (const stream of streams) stream.close();
    await until('all gone', () => server.streams === 0 && server.sessions === 0);
  });

  testWhere('pagemap-scan', 'compiler')(
    'a thousand clients that never finish their question hold up nobody for long',
    async () => {
      await using target = await startScene();
      const before = openDescriptors().length;
      const { server, port } = await startServer();
      const stream = await openStream(port, target.pid);
      await until('a message', () => stream.messages.length > 0);
      const slow: Socket[] = [];
      for (let count = 0; count < 1000; count++) {
        const socket = connect(port, '127.0.0.1', () => socket.write(`GET /${TOKEN}/ HTTP/1.1\r\nHost: `));
        socket.on('error', () => undefined);
        slow.push(socket);
      }
      // Those who have their stream keep it.
      const seen = stream.messages.length;
      await until('more messages', () => stream.messages.length > seen + 2);
      // The slow ones are thrown out; then others are answered again.
      await until('an end', () => slow.every((socket) => socket.closed));
      expect((await ask(port, `/${TOKEN}/`)).status).toBe(200);
      stream.close();
      await server.close();
      await until('no descriptors', () => openDescriptors().length <= before);
    },
  );

  test('a real client that stops reading costs little, and is told all anew when it goes on', async () => {
    let response: ServerResponse | undefined;
    const server = createServer((_request, answer) => {
      response = answer;
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
    socket.pause();
    socket.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
    await once(server, 'request');
    const model = { schema: 'all anew' } as unknown as PageModel;
    const stream = new Stream(response!, { model: () => model });
    const message = JSON.stringify({ type: 'column', filler: 'x'.repeat(100_000) });
    let most = 0;
    for (let count = 0; count < 2000; count++) {
      stream.take(message);
      most = Math.max(most, response!.writableLength);
      if (count % 50 === 0) await sleep(1);
    }
    expect(most).toBeLessThan(1.2 * 2 ** 20);
    // The first model came before all else; this must be another.
    let heard = '';
    socket.setEncoding('latin1').on('data', (text) => {
      heard = (heard + text).slice(-1000);
    });
    socket.resume();
    await until('the model', () => heard.includes('all anew'));
    stream.close();
    socket.destroy();
    server.close();
  });
});
