/**
 * The page's server: HTTP on one address, with a random word in every path.
 *
 * Who knows the word may look at every process that this user may look at. So: paths are compared in constant time; the Host
 * must be one of ours (a foreign name that resolves to us is an attack by DNS rebinding), and so must the Origin, if there is
 * one; nothing is loaded from elsewhere, and nobody may frame the page.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { PAGE_SIZE, PagemapError } from '../abi/index.js';
import type { StreamMessage } from '../model/index.js';
import type { Subject } from '../track/index.js';
import { loadAssets } from './assets.js';
import { ALL_KINDS } from './grid.js';
import { listProcesses } from './processes.js';
import { reportHtml, sampleNotes } from './report.js';
import { type Session, type SessionOptions, SessionPool } from './session.js';

export interface ServerOptions {
  readonly host: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly intervalMs: number;
  /** What is tracked to begin with; writes by default. */
  readonly subject?: Subject | undefined;
  /** As `SessionOptions` has it. */
  readonly budget?: number | undefined;
  /** Processes that are offered first. */
  readonly pids: readonly number[];
  /** For how long a process is still looked at after the last page has gone, milliseconds. */
  readonly graceMs?: number | undefined;
  /** For tests: in place of a random word. */
  readonly token?: string | undefined;
}

/** What a live page remembers: ten minutes at a second each, unless very much is written. */
const HISTORY = { columns: 600, numbers: 1_500_000, full: 'drop' } as const;
const GRACE_MS = 10_000;
/** Connections, and streams among them, at a time. */
const MOST_CONNECTIONS = 256;
const MOST_STREAMS = 48;
/** What may wait for a client that reads slowly, bytes; beyond it, it misses messages. */
const MOST_PENDING = 1 << 20;
/** A client that has not read for so long is gone, and the time that what waits takes on a slow line, bytes a millisecond. */
const PATIENCE_MS = 20_000;
const SLOW_LINE = 32;
const HEARTBEAT_MS = 10_000;
const MOST_TILES = 96;

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

/** A refusal: its status and what is said about it. */
class HttpError extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** One page's stream of messages. */
export class Stream {
  readonly #response: Pick<ServerResponse, 'on' | 'write' | 'destroy' | 'writableLength'>;
  readonly #session: Pick<Session, 'model'>;
  readonly #heartbeat: NodeJS.Timeout;
  #behindSince: number | undefined;
  /** What waited then, bytes. */
  #behindBytes = 0;

  constructor(
    response: Pick<ServerResponse, 'on' | 'write' | 'destroy' | 'writableLength'>,
    session: Pick<Session, 'model'>,
  ) {
    this.#response = response;
    this.#session = session;
    this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS);
    response.on('drain', () => this.#caughtUp());
    this.#send(JSON.stringify({ type: 'model', model: session.model() } satisfies StreamMessage));
  }

  /** Takes an encoded message; one that the client has no room for is left out, and all sent anew later. */
  take(text: string): void {
    if (this.#behindSince !== undefined) return;
    if (this.#response.writableLength > MOST_PENDING) this.#fallBehind();
    else this.#send(text);
  }

  #fallBehind(): void {
    this.#behindSince = performance.now();
    this.#behindBytes = this.#response.writableLength;
  }

  #send(text: string): void {
    // The text holds no newline: JSON escapes them.
    this.#response.write(`data: ${text}\n\n`);
  }

  #caughtUp(): void {
    if (this.#behindSince === undefined) return;
    this.#behindSince = undefined;
    this.#send(JSON.stringify({ type: 'model', model: this.#session.model() } satisfies StreamMessage));
  }

  #beat(): void {
    if (this.#response.writableLength === 0) {
      if (this.#behindSince === undefined) this.#response.write(': here\n\n');
      // What waited was too little for Node to say when it had been read.
      else this.#caughtUp();
    } else if (this.#behindSince === undefined) this.#fallBehind();
    else if (performance.now() - this.#behindSince > PATIENCE_MS + this.#behindBytes / SLOW_LINE)
      this.#response.destroy();
  }

  close(): void {
    clearInterval(this.#heartbeat);
  }
}

/** Runs from `listen` to `close`. */
export class PageServer {
  readonly #options: ServerOptions;
  readonly #server: Server;
  readonly #pool: SessionPool;
  /** The word that is in every path. */
  readonly token: string;
  readonly #tokenDigest: Buffer;
  readonly #assets = loadAssets();
  /** Per session: who gets its messages, each encoded once for all. */
  readonly #audiences = new Map<Session, { streams: Set<Stream>; unsubscribe: () => void }>();
  #streams = 0;

  constructor(options: ServerOptions) {
    // As clients send it.
    this.#options = { ...options, host: options.host.toLowerCase() };
    this.token = options.token ?? randomBytes(18).toString('base64url');
    this.#tokenDigest = digest(this.token);
    this.#pool = new SessionPool(
      { intervalMs: options.intervalMs, heat: HISTORY, subject: options.subject, budget: options.budget },
      options.graceMs ?? GRACE_MS,
    );
    this.#server = createServer(
      {
        headersTimeout: 5000,
        requestTimeout: 10_000,
        keepAliveTimeout: 10_000,
        connectionsCheckingInterval: 1000,
        maxHeaderSize: 16_384,
      },
      (request, response) => this.#answer(request, response),
    );
    this.#server.maxConnections = MOST_CONNECTIONS;
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  /** @throws Error with the system's code: EADDRINUSE, EACCES, EADDRNOTAVAIL */
  async listen(): Promise<void> {
    this.#server.listen(this.#options.port, this.#options.host);
    await once(this.#server, 'listening');
  }

  /** Where the page is, with the word. */
  get url(): string {
    return `http://${this.#authority()}/${this.token}/`;
  }

  /**
   * Looks at a process from now on until it ends, whether a page shows it or not.
   *
   * @throws ProcessError for a process that cannot be looked at
   */
  watch(pid: number, meter: SessionOptions['meter']): Session {
    const { session, release } = this.#pool.take(pid, meter);
    void session.done.then(release);
    return session;
  }

  /** Processes that are looked at now. */
  get sessions(): number {
    return this.#pool.size;
  }

  /** Pages that have a stream now. */
  get streams(): number {
    return this.#streams;
  }

  #port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  #authority(host = this.#options.host): string {
    return `${isIPv6(host) ? `[${host}]` : host}:${this.#port()}`;
  }

  /** Ends everything: streams, connections, trackers. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await this.#pool.close();
    await closed;
  }

  /** Names that a browser may know us by. To a name of somebody else's choice we do not answer. */
  #isOurs(authority: string | undefined): boolean {
    if (authority === undefined) return false;
    const { host } = this.#options;
    // Browsers leave the port out where it is the usual one.
    const given = `${authority.toLowerCase()}${this.#port() === 80 && !/:\d+$/.test(authority) ? ':80' : ''}`;
    const names = [host];
    if (host === '127.0.0.1' || host === '::1') names.push('localhost');
    if (host === '0.0.0.0' || host === '::') return isAddress(given, this.#port());
    return names.some((name) => given === this.#authority(name));
  }

  #check(request: IncomingMessage): string {
    const { headers } = request;
    if (!this.#isOurs(headers.host)) throw new HttpError(421, 'This server does not answer to that name');
    if (headers.origin !== undefined && headers.origin !== `http://${headers.host}`) {
      throw new HttpError(403, 'This server does not answer requests from other origins');
    }
    const site = headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      throw new HttpError(403, 'This server does not answer requests from other sites');
    }
    const path = request.url ?? '/';
    const end = path.indexOf('/', 1);
    const word = path.slice(1, end < 0 ? path.length : end);
    if (!timingSafeEqual(digest(word), this.#tokenDigest)) {
      throw new HttpError(404, 'Not found: use the whole address that `pmscan serve` printed');
    }
    if (request.method !== 'GET' && request.method !== 'HEAD')
      throw new HttpError(405, 'This server answers GET and HEAD requests only');
    return end < 0 ? '' : path.slice(end);
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
    try {
      this.#route(this.#check(request), request, response);
    } catch (error) {
      const status = error instanceof HttpError ? error.status : error instanceof PagemapError ? 409 : 500;
      const why =
        error instanceof PagemapError
          ? (error.hint ?? error.message)
          : error instanceof HttpError
            ? error.message
            : 'Cannot answer: an unexpected error; run `pmscan serve` with PMSCAN_DEBUG=1 to see it';
      if (status === 405) response.setHeader('allow', 'GET, HEAD');
      if (status === 500 && process.env['PMSCAN_DEBUG']) process.stderr.write(`${(error as Error).stack}\n`);
      this.#reply(response, 'text/plain; charset=utf-8', `${why}\n`, status);
    }
  }

  #reply(response: ServerResponse, type: string, body: string | Uint8Array, status = 200): void {
    response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) });
    response.end(response.req.method === 'HEAD' ? undefined : body);
  }

  #route(path: string, request: IncomingMessage, response: ServerResponse): void {
    // The path as it came: nothing is decoded or resolved, so there is nothing to climb out of.
    const at = path.indexOf('?');
    const query = new URLSearchParams(at < 0 ? '' : path.slice(at + 1));
    switch (at < 0 ? path : path.slice(0, at)) {
      case '':
        // Relative addresses need the slash.
        response.writeHead(308, { location: `/${this.token}/` }).end();
        return;
      case '/':
        this.#reply(response, 'text/html; charset=utf-8', this.#assets.html);
        return;
      case '/page.js':
        this.#reply(response, 'text/javascript; charset=utf-8', this.#assets.script);
        return;
      case '/page.css':
        this.#reply(response, 'text/css; charset=utf-8', this.#assets.style);
        return;
      case '/processes':
        this.#json(response, { chosen: this.#options.pids, processes: listProcesses() });
        return;
      case '/stream':
        this.#stream(pidOf(query), subjectOf(query), request, response);
        return;
      case '/tiles':
        this.#tiles(query, response);
        return;
      case '/report':
        this.#report(pidOf(query), response);
        return;
      default:
        throw new HttpError(404, 'Not found');
    }
  }

  #json(response: ServerResponse, value: unknown): void {
    this.#reply(response, 'application/json; charset=utf-8', JSON.stringify(value));
  }

  #stream(
    pid: number,
    subject: Subject | undefined,
    request: IncomingMessage,
    response: ServerResponse,
  ): void {
    if (this.#streams >= MOST_STREAMS)
      throw new HttpError(503, 'Cannot open another page: too many are open');
    if (request.method === 'HEAD') throw new HttpError(405, 'This address answers GET requests only');
    const { session, release } = this.#pool.take(pid, undefined, subject);
    this.#streams++;
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
    const stream = new Stream(response, session);
    const audience = this.#audience(session);
    audience.streams.add(stream);
    response.on('close', () => {
      this.#streams--;
      stream.close();
      audience.streams.delete(stream);
      if (audience.streams.size === 0) {
        audience.unsubscribe();
        this.#audiences.delete(session);
      }
      release();
    });
  }

  #audience(session: Session) {
    let audience = this.#audiences.get(session);
    if (audience === undefined) {
      const streams = new Set<Stream>();
      const unsubscribe = session.subscribe((message) => {
        const text = JSON.stringify(message);
        for (const stream of streams) stream.take(text);
      });
      audience = { streams, unsubscribe };
      this.#audiences.set(session, audience);
    }
    return audience;
  }

  /**
   * Cells: `cell` is their size in bytes, `kinds` the bits of what counts, `by=age` tells ages in place of kinds, `t` lists tiles as
   * START.INDEX, both hexadecimal.
   * The answer is 32-bit little-endian: for each tile its number of cells, or 2^32 - 1 when it cannot be had, then all
   * cells as 16-bit words.
   */
  #tiles(query: URLSearchParams, response: ServerResponse): void {
    const session = this.#pool.get(pidOf(query));
    if (session === undefined) throw new HttpError(409, 'No page shows this process');
    const cellBytes = Number(query.get('cell'));
    const pages = cellBytes / PAGE_SIZE;
    if (!Number.isInteger(Math.log2(pages)) || pages < 1 || pages > 2 ** 40) {
      throw new HttpError(400, 'cell must be 4096 times a power of two');
    }
    const kinds = Number(query.get('kinds') ?? ALL_KINDS) & ALL_KINDS;
    const isByAge = query.get('by') === 'age';
    const wanted = (query.get('t') ?? '').split(',').slice(0, MOST_TILES);
    const tiles = wanted.map((text) => {
      const match = /^([0-9a-f]{1,14})\.([0-9a-f]{1,9})$/.exec(text);
      if (match === null) throw new HttpError(400, 't must be a list of START.INDEX');
      const [start, index] = [Number.parseInt(match[1]!, 16), Number.parseInt(match[2]!, 16)];
      return session.tile(start, cellBytes, index, kinds, isByAge);
    });
    const counts = Uint32Array.from(tiles, (tile) => tile?.length ?? 0xffffffff);
    const parts = [counts, ...tiles.filter((tile) => tile !== undefined)];
    const bytes = parts.map(({ buffer, byteOffset, byteLength }) =>
      Buffer.from(buffer, byteOffset, byteLength),
    );
    this.#reply(response, 'application/octet-stream', Buffer.concat(bytes));
  }

  #report(pid: number, response: ServerResponse): void {
    const session = this.#pool.get(pid);
    if (session === undefined) throw new HttpError(409, 'No page shows this process');
    const model = session.model(true);
    response.setHeader('content-disposition', `attachment; filename="pmscan-${pid}.html"`);
    this.#reply(response, 'text/html; charset=utf-8', reportHtml({ ...model, notes: sampleNotes(model) }));
  }
}

function pidOf(query: URLSearchParams): number {
  const text = query.get('pid') ?? '';
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new HttpError(400, 'pid must be a process number');
  return Number(text);
}

/** What the page wants to be tracked; undefined for what is. */
function subjectOf(query: URLSearchParams): Subject | undefined {
  const text = query.get('of');
  if (text === null) return undefined;
  if (text !== 'writes' && text !== 'accesses') throw new HttpError(400, 'of must be writes or accesses');
  return text;
}

/** Whether a Host header is an IP address, which no DNS can turn to us. */
function isAddress(authority: string, port: number): boolean {
  return (
    authority === `localhost:${port}` ||
    (/^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\]):\d+$/i.test(authority) && authority.endsWith(`:${port}`))
  );
}
