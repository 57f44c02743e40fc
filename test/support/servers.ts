/**
 * Real servers as throw-away instances: all that one writes lies in a temporary folder, it listens on a unix socket or a
 * free loopback port, and nothing is left behind, however a test ends.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chownSync,
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type TestAPI, test } from 'vitest';
import { testWhere } from './needs.js';
import { allProcesses, hasInEnvironment, type Stat, signal, statOf } from './processes.js';

const execute = promisify(execFile);

/** How long anything may take that normally takes a second or two. Only failures wait for it. */
const PATIENCE_MS = 120_000;
/** How long a server has for an orderly end before it is killed. */
const FAREWELL_MS = 20_000;
/** In the environment of everything that an instance starts: its folder. */
const MARKER = 'PMSCAN_TEST_SERVER';

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The first of these programs that is there. */
function findProgram(names: readonly string[], folders: readonly string[]): string | undefined {
  return names.flatMap((name) => folders.map((folder) => join(folder, name))).find(executable);
}

const PATH = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '');

/** Debian keeps each major version's server programs in a folder of their own; the newest first. */
function postgresFolders(): string[] {
  const root = '/usr/lib/postgresql';
  try {
    const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
    return versions.map((version) => join(root, version, 'bin'));
  } catch {
    return [];
  }
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Who runs PostgreSQL, which refuses root: the user of that name. Undefined where we are not root anyway. */
function postgresOwner(): Owner | undefined {
  if (process.geteuid?.() !== 0) return undefined;
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { stdio: 'pipe' }));
  return { uid: id('-u'), gid: id('-g') };
}

export type ServerName = 'redis-server' | 'postgresql' | 'chromium';

/** What a server needs, or undefined when it is not all there. */
function programsOf(name: ServerName): Readonly<Record<string, string>> | undefined {
  const wanted: Readonly<Record<ServerName, () => Record<string, string | undefined>>> = {
    'redis-server': () => ({
      server: findProgram(['redis-server'], PATH),
      client: findProgram(['redis-cli'], PATH),
    }),
    postgresql: () => {
      const folders = [...postgresFolders(), ...PATH];
      return {
        server: findProgram(['postgres'], folders),
        initdb: findProgram(['initdb'], folders),
        client: findProgram(['psql'], folders),
      };
    },
    chromium: () => ({ server: findProgram(['chromium', 'google-chrome', 'google-chrome-stable'], PATH) }),
  };
  const found = wanted[name]();
  return Object.values(found).includes(undefined) ? undefined : (found as Record<string, string>);
}

/** As `testWhere`, with the server as one more need: not installed, it is a skipped test, or in CI one that fails. */
export function testWithServer(name: ServerName, ...needs: string[]): TestAPI {
  // It refuses root, which in a user namespace has no other user to be.
  const other = name === 'postgresql' && process.geteuid?.() === 0 ? ['root'] : [];
  if (programsOf(name) !== undefined) return testWhere(...other, ...needs);
  const why = `${name} is not installed`;
  const instead = (title: string) => {
    if (process.env['CI']) {
      test(title, () => {
        throw new Error(`Cannot be skipped in CI: ${why}`);
      });
    } else {
      test.skip(`${title} (skipped: ${why})`, () => {});
    }
  };
  return instead as unknown as TestAPI;
}

// --- Processes --------------------------------------------------------------------------------------------------

/** Calls `attempt` until it gives something. */
async function eventually<T>(
  what: string,
  attempt: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const result = await attempt();
    if (result !== undefined) return result;
    if (Date.now() > deadline) throw new Error(`Waited in vain for ${what}`);
    await sleep(50);
  }
}

/** A process that stands still until it is disposed. */
export interface Frozen extends Disposable {
  readonly pid: number;
}

/** Stops a process, all its threads, until the result is disposed. */
export async function freeze(pid: number): Promise<Frozen> {
  process.kill(pid, 'SIGSTOP');
  const frozen = { pid, [Symbol.dispose]: () => signal(pid, 'SIGCONT') };
  try {
    // A thread that is in a system call stops when it leaves it, some time after kill() has returned.
    await eventually(`process ${pid} to stop`, () => {
      const states = readdirSync(`/proc/${pid}/task`).map((id) => statOf(`/proc/${pid}/task/${id}`)?.state);
      return states.every((state) => state === 'T' || state === undefined) ? true : undefined;
    });
    return frozen;
  } catch (error) {
    frozen[Symbol.dispose]();
    throw error;
  }
}

// --- Instances --------------------------------------------------------------------------------------------------

const running = new Set<Instance>();

/**
 * Waits for the end of its input, which the tests hold open: when they have been killed, it does their cleaning up.
 * Arguments: the marker in the environment, the folder, the signal that the server should get.
 */
const WATCHDOG = `
  read -r _
  [ -d "$2" ] || exit 0
  ours() { grep -lzs "^$1=$2$" /proc/[0-9]*/environ | cut -d / -f 3; }
  kill -s "$3" $(ours "$1" "$2")
  kill -s CONT $(ours "$1" "$2")
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -z "$(ours "$1" "$2")" ] && break
    sleep 1
  done
  kill -s KILL $(ours "$1" "$2")
  rm -rf "$2"
`;

/** A temporary folder and the processes that were started for it. */
class Instance {
  readonly folder: string;
  readonly #name: ServerName;
  readonly #owner: Owner | undefined;
  readonly #programs: Readonly<Record<string, string>>;
  /** What ends the server's programs in order. */
  readonly #farewell: NodeJS.Signals;
  readonly #watchdog: ChildProcess;
  readonly #children: ChildProcess[] = [];
  /** Processes seen so far, by number, with their start times. */
  readonly #seen = new Map<number, string>();

  constructor(name: ServerName, farewell: NodeJS.Signals, owner?: Owner) {
    const programs = programsOf(name);
    if (programs === undefined) throw new Error(`${name} is not installed`);
    this.#name = name;
    this.#owner = owner;
    this.#farewell = farewell;
    this.#programs = programs;
    // The path of a unix socket may have some 100 bytes: a short name.
    this.folder = mkdtempSync(join(tmpdir(), 'pmscan-'));
    if (owner !== undefined) chownSync(this.folder, owner.uid, owner.gid);
    const args = ['-c', WATCHDOG, 'watchdog', MARKER, this.folder, farewell.slice(3)];
    this.#watchdog = spawn('sh', args, { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    running.add(this);
  }

  program(key: string): string {
    return this.#programs[key]!;
  }

  get log(): string {
    return join(this.folder, 'log');
  }

  #options(): { cwd: string; env: NodeJS.ProcessEnv } & Partial<Owner> {
    const home = { HOME: this.folder, TMPDIR: this.folder, XDG_CONFIG_HOME: this.folder };
    const env = { PATH: process.env['PATH'], LC_ALL: 'C', ...home, [MARKER]: this.folder };
    return { cwd: this.folder, env, ...this.#owner };
  }

  /** Runs a program to its end and gives what it printed. */
  async run(program: string, args: readonly string[], input = ''): Promise<string> {
    const command = execute(program, args, { ...this.#options(), maxBuffer: 2 ** 28 });
    // Who does not want the input may close it early; its exit code says whether that was right.
    command.child.stdin?.on('error', () => {});
    command.child.stdin?.end(input);
    return (await command).stdout;
  }

  /** Starts a program that stays, until the instance is disposed. */
  start(program: string, args: readonly string[], pipes: 'pipe' | 'ignore' = 'ignore'): ChildProcess {
    const log = openSync(this.log, 'a');
    const child = spawn(program, args, {
      ...this.#options(),
      // A session of its own, so that what it starts can be told by it.
      detached: true,
      stdio: [pipes, pipes === 'pipe' ? 'pipe' : log, log],
    });
    closeSync(log);
    this.#children.push(child);
    child.on('error', () => {});
    return child;
  }

  /** Tries until it gives something, and says what the log says when it does not, or when `child` has ended. */
  async ready<T>(
    child: ChildProcess,
    what: string,
    attempt: () => Promise<T | undefined> | T | undefined,
  ): Promise<T> {
    try {
      return await eventually(what, () => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
          throw new Error(`${this.#name} ended (${child.exitCode ?? child.signalCode})`);
        }
        return attempt();
      });
    } catch (error) {
      const log = readFileSync(this.log, 'utf8').slice(-4000);
      throw new Error(`${(error as Error).message}; its log ends with:\n${log}`, { cause: error });
    }
  }

  /**
   * The living processes of this instance: those that it started, and what descends from them, found by parent, by
   * session and by environment, because each of these can be left by a program that means to.
   */
  processes(): number[] {
    const all = allProcesses();
    // A number may have been given to another process meanwhile.
    for (const [pid, started] of this.#seen) if (all.get(pid)?.started !== started) this.#seen.delete(pid);
    const leaders = new Set(this.#children.map(({ pid }) => pid));
    const isOurs = (pid: number, { parent, session }: Stat) => {
      if (this.#seen.has(pid) || this.#seen.has(parent) || leaders.has(session)) return true;
      return hasInEnvironment(pid, `${MARKER}=${this.folder}`);
    };
    for (let found = true; found; ) {
      found = false;
      for (const [pid, stat] of all) {
        if (this.#seen.has(pid) || !isOurs(pid, stat)) continue;
        this.#seen.set(pid, stat.started);
        found = true;
      }
    }
    return [...this.#seen.keys()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!running.has(this)) return;
    const deadline = Date.now() + FAREWELL_MS;
    for (const pid of this.processes()) signal(pid, 'SIGCONT');
    // Clients, which were started last, first.
    for (const child of this.#children.toReversed()) {
      if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      if (child.stdin === null) signal(child.pid, this.#farewell);
      else child.stdin.end();
    }
    await eventually(`the end of ${this.#name}`, () => {
      const left = this.processes();
      if (left.length === 0) return true;
      if (Date.now() > deadline) for (const pid of left) signal(pid, 'SIGKILL');
      return undefined;
    });
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
    running.delete(this);
    const asleep = once(this.#watchdog, 'exit');
    this.#watchdog.stdin?.end();
    await asleep;
  }
}

/** Ends whatever is still there: for an afterAll, because a test that has timed out runs no `finally` in time. */
export async function stopServers(): Promise<void> {
  for (const instance of running) await instance[Symbol.asyncDispose]();
}

/** A server that runs until it is disposed. */
export interface Server extends AsyncDisposable {
  readonly folder: string;
  /** The server's own process. */
  readonly pid: number;
}

/** The instance as what `build` makes of it; nothing is left of it when that fails. */
async function serve<T extends { readonly pid: number }>(
  instance: Instance,
  build: () => Promise<T>,
): Promise<T & Server> {
  const dispose = () => instance[Symbol.asyncDispose]();
  try {
    return { ...(await build()), folder: instance.folder, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}

// --- Redis ------------------------------------------------------------------------------------------------------

export interface Redis extends Server {
  /** Sends commands, one a line, and gives the answers as redis-cli prints them. */
  commands(text: string): Promise<string>;
}

/** Redis on a unix socket alone, nothing saved. It may use huge pages, which it turns off for itself by default. */
export function startRedis(): Promise<Redis> {
  const instance = new Instance('redis-server', 'SIGTERM');
  return serve(instance, async () => {
    const socket = join(instance.folder, 'socket');
    const settings = {
      port: '0',
      unixsocket: socket,
      save: '',
      appendonly: 'no',
      daemonize: 'no',
      dir: instance.folder,
      'enable-debug-command': 'yes',
      'disable-thp': 'no',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const child = instance.start(instance.program('server'), args);
    const commands = (text: string) => instance.run(instance.program('client'), ['-s', socket], text);
    await instance.ready(child, 'redis-server to answer', () =>
      commands('PING\n').then(
        (answer) => (answer.trim() === 'PONG' ? true : undefined),
        () => undefined,
      ),
    );
    return { pid: child.pid!, commands };
  });
}

// --- PostgreSQL -------------------------------------------------------------------------------------------------

/** A connection that stays open, held by psql. */
export interface PostgresSession {
  /** The server's process for this connection. */
  readonly backend: number;
  /** Runs one or several statements; gives the lines that psql prints for them. */
  query(sql: string): Promise<string[]>;
}

export interface Postgres extends Server {
  session(): Promise<PostgresSession>;
}

/** PostgreSQL with a new cluster, on a unix socket alone. */
export function startPostgres(sharedBuffers: string): Promise<Postgres> {
  // SIGQUIT ends it at once: nobody wants the data.
  const instance = new Instance('postgresql', 'SIGQUIT', postgresOwner());
  return serve(instance, async () => {
    const data = join(instance.folder, 'data');
    const cluster = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
    await instance.run(instance.program('initdb'), cluster);
    const settings = {
      listen_addresses: '',
      unix_socket_directories: instance.folder,
      shared_buffers: sharedBuffers,
      // The machine's few huge pages may be needed by other tests.
      huge_pages: 'off',
      fsync: 'off',
      max_parallel_workers_per_gather: '0',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const child = instance.start(instance.program('server'), ['-D', data, ...args]);
    const login = ['-X', '-q', '-A', '-t', '-h', instance.folder, '-U', 'postgres', 'postgres'];
    await instance.ready(child, 'postgres to answer', () =>
      instance.run(instance.program('client'), [...login, '-c', 'SELECT 1']).then(
        () => true,
        () => undefined,
      ),
    );

    const session = async (): Promise<PostgresSession> => {
      const psql = instance.start(instance.program('client'), [...login, '-v', 'ON_ERROR_STOP=1'], 'pipe');
      psql.stdin!.on('error', () => {});
      const lines = createInterface({ input: psql.stdout! })[Symbol.asyncIterator]();
      let queries = 0;
      const query = async (sql: string): Promise<string[]> => {
        const end = `end of query ${++queries}`;
        psql.stdin!.write(`${sql};\n\\echo ${end}\n`);
        const answer: string[] = [];
        for (;;) {
          const { value, done } = await lines.next();
          if (done)
            throw new Error(`psql ended; the log: ${readFileSync(instance.log, 'utf8').slice(-4000)}`);
          if (value === end) return answer;
          answer.push(value);
        }
      };
      return { backend: Number((await query('SELECT pg_backend_pid()'))[0]), query };
    };
    return { pid: child.pid!, session };
  });
}

// --- Chromium ---------------------------------------------------------------------------------------------------

export interface Chromium extends Server {
  /** The page's own process. */
  readonly renderer: number;
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
  } catch {
    return '';
  }
}

function rssPages(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
  } catch {
    return 0;
  }
}

/** Chromium without a window, with one page of this HTML; it is ready when the page has set its title to "ready". */
export function startChromium(html: string): Promise<Chromium> {
  const instance = new Instance('chromium', 'SIGTERM');
  return serve(instance, async () => {
    const profile = join(instance.folder, 'profile');
    const page = join(instance.folder, 'page.html');
    mkdirSync(profile);
    writeFileSync(page, html);
    const flags = [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-quic',
      '--disable-breakpad',
      '--password-store=basic',
      `--user-data-dir=${profile}`,
      '--remote-debugging-port=0',
    ];
    const child = instance.start(instance.program('server'), [...flags, `file://${page}`]);
    // It chooses a free loopback port and writes it there.
    const portFile = join(profile, 'DevToolsActivePort');
    await instance.ready(child, 'the page in Chromium', async () => {
      try {
        const port = Number(readFileSync(portFile, 'latin1').split('\n')[0]);
        const response = await fetch(`http://127.0.0.1:${port}/json/list`);
        const pages = (await response.json()) as { type: string; title: string }[];
        return pages.some(({ type, title }) => type === 'page' && title === 'ready') ? true : undefined;
      } catch {
        return undefined;
      }
    });
    // There may be spare renderers, and some for the browser's own pages: ours is the one that holds something.
    const renderers = instance
      .processes()
      .filter((pid) => commandLine(pid).includes('--type=renderer'))
      .sort((a, b) => rssPages(b) - rssPages(a));
    if (renderers.length === 0) throw new Error('Chromium has no renderer process');
    return { pid: child.pid!, renderer: renderers[0]! };
  });
}
