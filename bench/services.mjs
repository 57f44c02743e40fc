// Services under load, with and without `pmscan watch` at one interval a second, in turns, in one run: Redis, PostgreSQL, a server of
// Node's, a Java program, and a program that only writes. Each is watched page by page, and within a budget.
//   npm run build && node bench/services.mjs [--pairs 7] [--seconds 3] [--only redis|postgres|node|java|worst] [--json]
// A phase takes that many seconds, and one within a budget ten times as many: intervals get longer there, and a budget is kept over several.
// All servers are throw-away instances in temporary folders; nothing of them is left, however this ends.
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs, promisify } from 'node:util';
import { finish, header, MAIN, median, record } from './harness.mjs';

const execute = promisify(execFile);

const { values: given } = parseArgs({
  options: {
    pairs: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '3' },
    only: { type: 'string' },
    json: { type: 'boolean' },
  },
});
const PAIRS = Number(given.pairs);
const SECONDS = Number(given.seconds);
const BUDGETED_PAIRS = Math.min(PAIRS, 3);
const BUDGETED_SECONDS = SECONDS * 10;

/** The promise: at 10,000 key updates a second, this share of the throughput is left. */
const UPDATES_PER_SECOND = 10_000;
const LEAST_RATIO = 0.95;
/** What a watch says that it costs may differ from what it does cost by this share. */
const MOST_OFF = 1 / 3;

const KEYS = 1_000_000;
const VALUE_BYTES = 900;

// --- What was started, and its end -------------------------------------------------------------------------------

const children = new Set();
const folders = new Set();

/** Starts a program that stays; `farewell` is the signal that ends it in order. */
function start(program, args, { farewell = 'SIGTERM', ...options } = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], ...options });
  const entry = { child, farewell, errors: '', done: false };
  entry.gone = new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? code));
  }).then((how) => {
    entry.done = true;
    children.delete(entry);
    return how;
  });
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    entry.errors = (entry.errors + text).slice(-4000);
  });
  children.add(entry);
  return entry;
}

async function stop(entry, signal = entry.farewell) {
  if (!entry.done) entry.child.kill(signal);
  const killer = setTimeout(() => entry.child.kill('SIGKILL'), 20_000);
  const how = await entry.gone;
  clearTimeout(killer);
  return how;
}

/** In memory where that is possible: a disk that others use, too, would drown what is measured. */
function folder(owner) {
  const path = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'pmscan-bench-'));
  folders.add(path);
  if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  return path;
}

/** Ends everything, what was started last first. */
async function cleanUp() {
  for (const entry of [...children].reverse()) await stop(entry);
  for (const path of folders) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  folders.clear();
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => cleanUp().finally(() => process.exit(130)));
}

async function eventually(what, attempt, entry) {
  for (const deadline = Date.now() + 60_000; ; await sleep(50)) {
    if (entry?.done) throw new Error(`The program ended before ${what}: ${entry.errors}`);
    const result = await attempt().catch(() => undefined);
    if (result !== undefined) return result;
    if (Date.now() > deadline) throw new Error(`Waited in vain for ${what}`);
  }
}

// --- Measuring ---------------------------------------------------------------------------------------------------

/** Time on a processor and time that it waited for one (milliseconds, all threads), and page faults. */
function usage(pid) {
  let cpuMs = 0;
  let waitMs = 0;
  for (const id of readdirSync(`/proc/${pid}/task`)) {
    let text = '';
    try {
      text = readFileSync(`/proc/${pid}/task/${id}/schedstat`, 'latin1');
    } catch {
      continue; // a thread that has just ended
    }
    const [ran, waited] = text.split(' ').map(Number);
    cpuMs += ran / 1e6;
    waitMs += waited / 1e6;
  }
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = { user: Number(fields[11]) * 10, system: Number(fields[12]) * 10 };
  return { cpuMs, waitMs, faults: Number(fields[7]), ...ticks };
}

function difference(after, before) {
  return Object.fromEntries(Object.entries(after).map(([key, value]) => [key, value - before[key]]));
}

/** Page by page, and so that the process pays no more than that. */
const EXACT = [];
const BUDGETED = ['--budget', '2%'];

/** `pmscan watch` on a process. It is measured from its first interval on: starting and attaching are done by then. */
async function startWatch(pid, how) {
  const args = [MAIN, 'watch', String(pid), '--interval', '1s', '--json', ...how];
  const entry = start(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'], farewell: 'SIGINT' });
  const intervals = [];
  const first = new Promise((resolve) => {
    createInterface({ input: entry.child.stdout }).on('line', (line) => {
      intervals.push(JSON.parse(line));
      resolve();
    });
  });
  await Promise.race([first, entry.gone]);
  if (entry.done) throw new Error(`watch ended: ${entry.errors}`);
  intervals.length = 0;
  return { pid: entry.child.pid, intervals, stop: () => stop(entry) };
}

/** Runs `work`, watched or not, and adds to what it gives what it cost. */
async function phase(pid, how, work) {
  const watch = how === undefined ? undefined : await startWatch(pid, how);
  try {
    await sleep(200);
    const began = performance.now();
    const before = usage(pid);
    const ownBefore = watch && usage(watch.pid);
    const result = await work();
    const server = difference(usage(pid), before);
    const own = watch && difference(usage(watch.pid), ownBefore);
    return { ...result, ms: performance.now() - began, server, own, intervals: watch?.intervals.slice() };
  } finally {
    await watch?.stop();
  }
}

/** Pairs of phases without and with the watch, in alternating order. `work` is given for how many seconds it has to go on. */
async function measurePairs(pid, work, how = EXACT) {
  const [pairs, seconds] = how === BUDGETED ? [BUDGETED_PAIRS, BUDGETED_SECONDS] : [PAIRS, SECONDS];
  const result = [];
  for (let pair = 0; pair < pairs; pair++) {
    const order = pair % 2 === 0 ? [false, true] : [true, false];
    const both = {};
    // Equally long: what collects garbage now and then is slower in the long run.
    for (const watched of order)
      both[watched ? 'with' : 'without'] = await phase(pid, watched ? how : undefined, () => work(seconds));
    result.push(both);
  }
  return result;
}

function percentile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}

/** Latencies of all phases together; or, where only percentiles are known, the medians of these. */
function latencies(phases) {
  if (phases[0].latencies !== undefined) {
    const all = phases.flatMap(({ latencies }) => latencies).sort((a, b) => a - b);
    return { p50: percentile(all, 0.5), p99: percentile(all, 0.99), max: all.at(-1) };
  }
  if (phases[0].p99 === undefined) return undefined;
  const of = (key) => median(phases.map((phase) => phase[key]));
  return { p50: of('p50'), p99: of('p99'), max: of('max') };
}

/**
 * What the watch says that it cost the process, and by how much more time of a processor each unit of its work took, in all, milliseconds.
 * An interval that is not over at the end of a phase is not in what is said; so both are for a second.
 */
function costs(pairs) {
  // Within a budget, an interval may be longer than a phase.
  const told = pairs.filter(({ with: { intervals } }) => intervals.length > 0);
  const said = told.map(({ with: { intervals } }) => {
    const ms = intervals.reduce((sum, { intervalMs }) => sum + intervalMs, 0);
    return (intervals.reduce((sum, { targetCostMs }) => sum + targetCostMs, 0) / ms) * 1000;
  });
  const each = ({ server, rate, ms }) => server.cpuMs / (rate * ms);
  const measured = pairs.map((pair) => (each(pair.with) - each(pair.without)) * pair.with.rate * 1000);
  return { said: median(said), measured: median(measured) };
}

/**
 * Records the median ratio of the pairs, and prints all that was measured. `unit` is that of the phases' rates, divided by `scale`.
 * With `costLimit`, it also records how far off what the watch says that it costs was.
 */
function report(name, pairs, { limit, unit, scale = 1, how = EXACT, costLimit }) {
  const ratios = pairs.map((pair) => pair.with.rate / pair.without.rate);
  const sides = { without: pairs.map(({ without }) => without), with: pairs.map((pair) => pair.with) };
  const number = (value) =>
    (value / scale).toLocaleString('en', { maximumFractionDigits: scale > 1 ? 1 : 0 });
  const rate = (side) => number(median(sides[side].map((phase) => phase.rate)));
  const intervals = sides.with.flatMap((phase) => phase.intervals);
  const own = median(sides.with.map((phase) => (phase.own.cpuMs / phase.ms) * 100));
  const pages = median(intervals.map(({ writtenPages }) => writtenPages));
  const scan = median(intervals.map(({ scanMs }) => scanMs));
  const sampled = intervals[0]?.sampled;
  const share = sampled === undefined ? '' : ` (an estimate, from ${(sampled * 100).toFixed(1)} %)`;
  record({
    name: `${name}: with ${['watch', ...how].join(' ')} / without`,
    value: median(ratios),
    limit,
    better: 'higher',
    detail:
      `${rate('with')} and ${rate('without')} ${unit}; ${pages.toLocaleString('en')} pages written an interval${share}, ` +
      `collected in ${scan.toFixed(1)} ms; watch itself ${own.toFixed(1)} % of one processor`,
  });
  const line = (text) => console.log(`         ${text}`);
  const both = ['with', 'without'].map((side) => latencies(sides[side]));
  if (both[0] !== undefined) {
    const [a, b] = both.map((latency) =>
      ['p50', 'p99', 'max'].map((key) => latency[key].toFixed(2)).join(' / '),
    );
    line(`latency p50 / p99 / max: ${a} ms with, ${b} ms without`);
  }
  for (const side of ['with', 'without']) {
    const of = (choose) => median(sides[side].map((phase) => choose(phase.server, phase)));
    line(
      `the process ${side}: ${of(({ cpuMs }, { rate, ms }) => (cpuMs * 1e6) / (rate * ms)).toFixed(2)} µs of processor each, ` +
        `${of(({ user, system }) => (100 * system) / (user + system)).toFixed(0)} % of it in the kernel; ` +
        `${of(({ waitMs }, { ms }) => (100 * waitMs) / ms).toFixed(0)} % of the time waiting for a processor; ` +
        `${of(({ faults }, { ms }) => (faults / ms) * 1000).toFixed(0)} faults/s`,
    );
  }
  const { said, measured } = costs(pairs);
  line(
    `what it costs the process: ${said.toFixed(1)} ms/s as watch says, ${measured.toFixed(1)} ms/s more time of a processor for the same work`,
  );
  line(
    `pairs: ${pairs.map((pair, index) => `${number(pair.with.rate)}/${number(pair.without.rate)} = ${ratios[index].toFixed(3)}`).join(', ')}`,
  );
  if (costLimit !== undefined) {
    record({
      name: `${name}: what watch says that it costs, off by`,
      // Where the phases differ by chance by more than it costs, that is no agreement.
      value: (100 * Math.abs(said - measured)) / Math.abs(measured),
      unit: '%',
      limit: Math.round(100 * costLimit),
      detail: `${said.toFixed(1)} ms/s as it says, ${measured.toFixed(1)} ms/s measured`,
    });
  }
}

/** The same load, watched page by page, and within a budget, which has a promise. */
async function benchBoth(name, pid, work, options) {
  for (const how of [EXACT, BUDGETED]) reportBoth(name, await measurePairs(pid, work, how), how, options);
}

// Within a budget, the cost is less than what two phases without a watch differ by.
function reportBoth(name, pairs, how, { costLimit, ...options }) {
  const limits = how === BUDGETED ? { limit: LEAST_RATIO } : { costLimit };
  report(name, pairs, { ...options, ...limits, how });
}

// --- Redis -------------------------------------------------------------------------------------------------------

async function startRedis() {
  const dir = folder();
  const socket = join(dir, 'socket');
  const settings = { port: '0', unixsocket: socket, save: '', appendonly: 'no', daemonize: 'no', dir };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
  const entry = start('redis-server', args, { cwd: dir });
  const command = async (...words) => (await execute('redis-cli', ['-s', socket, ...words])).stdout.trim();
  const ping = async () => ((await command('PING')) === 'PONG' ? true : undefined);
  await eventually('redis-server answers', ping, entry);
  // The names that redis-benchmark gives its keys.
  const fill =
    "for i = ARGV[1], ARGV[2] - 1 do redis.call('SET', string.format('key:%012d', i), string.rep('x', ARGV[3])) end";
  const step = KEYS / 10;
  for (let from = 0; from < KEYS; from += step) {
    await command('EVAL', fill, '0', String(from), String(from + step), String(VALUE_BYTES));
  }
  if (Number(await command('DBSIZE')) !== KEYS) throw new Error('Redis was not filled');
  return { pid: entry.child.pid, socket, stop: () => stop(entry) };
}

/** Sends so many SETs of random keys a second, whether they are answered or not: waiting does not make it slower. */
function drive(socketPath, perSecond) {
  const socket = connect(socketPath);
  const value = 'y'.repeat(VALUE_BYTES);
  const started = performance.now();
  /** When each request that is still unanswered was sent. */
  let pending = [];
  let answered = 0;
  let sent = 0;
  let bytes = 0;
  let failure;
  let taken = [];
  socket.on('error', (error) => {
    failure = error;
  });
  // Each answer is "+OK\r\n".
  socket.on('data', (chunk) => {
    if (chunk.includes('-')) failure = new Error(`Redis answered ${chunk.toString('latin1', 0, 200)}`);
    bytes += chunk.length;
    const now = performance.now();
    const count = Math.floor(bytes / 5);
    bytes -= count * 5;
    for (let index = 0; index < count; index++) taken.push(now - pending[answered + index]);
    answered += count;
    if (answered > 100_000) {
      pending = pending.slice(answered);
      answered = 0;
    }
  });
  const timer = setInterval(() => {
    const now = performance.now();
    const due = Math.floor(((now - started) / 1000) * perSecond);
    let text = '';
    for (; sent < due; sent++) {
      const key = String(Math.floor(Math.random() * KEYS)).padStart(12, '0');
      text += `*3\r\n$3\r\nSET\r\n$16\r\nkey:${key}\r\n$${VALUE_BYTES}\r\n${value}\r\n`;
      pending.push(now);
    }
    if (text !== '') socket.write(text, 'latin1');
  }, 1);
  return {
    /** What is answered from now on. */
    async sample(ms) {
      taken = [];
      const began = performance.now();
      await sleep(ms);
      if (failure !== undefined) throw failure;
      const latencies = taken;
      taken = [];
      return { rate: (latencies.length / (performance.now() - began)) * 1000, latencies };
    },
    stop() {
      clearInterval(timer);
      socket.destroy();
    },
  };
}

async function redisBenchmark(redis, requests, pipeline) {
  const args = [
    '-s',
    redis.socket,
    '-t',
    'set',
    '-r',
    KEYS,
    '-d',
    VALUE_BYTES,
    '-n',
    requests,
    '-P',
    pipeline,
  ];
  const { stdout } = await execute('redis-benchmark', [...args.map(String), '--csv']);
  const [names, values] = stdout
    .trim()
    .split('\n')
    .slice(-2)
    .map((line) => line.split(',').map((word) => word.replaceAll('"', '')));
  const of = (name) => Number(values[names.indexOf(name)]);
  return { rate: of('rps'), p50: of('p50_latency_ms'), p99: of('p99_latency_ms'), max: of('max_latency_ms') };
}

async function benchRedis() {
  const redis = await startRedis();
  const memory = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${redis.pid}/status`, 'latin1'))[1];
  console.log(
    `Redis, ${KEYS.toLocaleString('en')} keys of ${VALUE_BYTES} bytes, ${(memory / 2 ** 20).toFixed(2)} GiB resident`,
  );
  {
    const driver = drive(redis.socket, UPDATES_PER_SECOND);
    try {
      await driver.sample(2000);
      const pairs = await measurePairs(redis.pid, (seconds) => driver.sample(seconds * 1000));
      report(`Redis, ${UPDATES_PER_SECOND.toLocaleString('en')} SETs of random keys a second`, pairs, {
        limit: LEAST_RATIO,
        costLimit: MOST_OFF,
        unit: 'answers/s',
      });
    } finally {
      driver.stop();
    }
  }
  for (const [pipeline, name] of [
    [1, 'Redis, redis-benchmark SET, full speed'],
    [16, 'Redis, redis-benchmark SET -P 16, full speed'],
  ]) {
    const { rate } = await redisBenchmark(redis, 100_000 * Math.min(pipeline, 5), pipeline);
    const work = (seconds) => redisBenchmark(redis, Math.ceil(rate * seconds), pipeline);
    await benchBoth(name, redis.pid, work, { unit: 'requests/s', costLimit: MOST_OFF });
  }
  await redis.stop();
}

// --- PostgreSQL --------------------------------------------------------------------------------------------------

/** The newest version's folder of programs. */
function postgresFolder() {
  const root = '/usr/lib/postgresql';
  if (!existsSync(root)) return undefined;
  const versions = readdirSync(root).sort((a, b) => Number(b) - Number(a));
  return versions
    .map((version) => join(root, version, 'bin'))
    .find((bin) => existsSync(join(bin, 'pgbench')) && existsSync(join(bin, 'initdb')));
}

/** PostgreSQL refuses to be run by root. */
function postgresOwner() {
  if (process.geteuid() !== 0) return undefined;
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres']));
  return { uid: id('-u'), gid: id('-g') };
}

async function benchPostgres(bin) {
  const owner = postgresOwner();
  const dir = folder(owner);
  const options = { cwd: dir, env: { PATH: process.env['PATH'], HOME: dir, LC_ALL: 'C' }, ...owner };
  const data = join(dir, 'data');
  const cluster = ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'];
  await execute(join(bin, 'initdb'), cluster, options);
  const settings = {
    listen_addresses: '',
    unix_socket_directories: dir,
    shared_buffers: '512MB',
    huge_pages: 'off',
    // The processor is to be the limit, not this machine's disk: that is the harder case for a watch.
    fsync: 'off',
    max_wal_size: '8GB',
    autovacuum: 'off',
    // Whole pages in the log after a checkpoint, and rows that every transaction updates (`pgbench` without `-N`), would
    // make the rate drift by more than what is measured.
    full_page_writes: 'off',
  };
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  // SIGQUIT ends it at once: nobody wants the data.
  const server = start(join(bin, 'postgres'), ['-D', data, ...args], { ...options, farewell: 'SIGQUIT' });
  const login = ['-h', dir, '-U', 'postgres'];
  const query = async (sql) =>
    (await execute(join(bin, 'psql'), [...login, '-XAtc', sql, 'postgres'], options)).stdout.trim();
  await eventually('postgres answers', () => query('SELECT 1'), server);
  await execute(join(bin, 'pgbench'), [...login, '-i', '-q', '-s', '25', 'postgres'], options);
  await query('CHECKPOINT');

  // One connection, so that all writes to the shared buffers are those of the process under watch.
  const log = join(dir, 'transactions');
  const run = ['-n', '-N', '-c', '1', '-j', '1', '-T', '3600', '--log', `--log-prefix=${log}`, 'postgres'];
  const bench = start(join(bin, 'pgbench'), [...login, ...run], options);
  const find = "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'";
  // Before the connection that it measures, it has another one for a moment.
  await sleep(3000);
  const backend = await eventually('pgbench runs', async () => Number(await query(find)) || undefined, bench);
  const work = async (seconds) => {
    const from = Date.now();
    await sleep(seconds * 1000);
    return { from, to: Date.now() };
  };
  const exact = await measurePairs(backend, work);
  const budgeted = await measurePairs(backend, work, BUDGETED);
  // What it has not written to its log by then is lost, but that is of after the last phase.
  await sleep(1500);
  await stop(bench);

  // client, transaction, microseconds, script, and its end as seconds and microseconds.
  const phases = [...exact, ...budgeted].flatMap((pair) => [pair.with, pair.without]);
  for (const phase of phases) phase.latencies = [];
  for (const name of readdirSync(dir).filter((name) => name.startsWith('transactions'))) {
    for (const line of readFileSync(join(dir, name), 'latin1').split('\n')) {
      const fields = line.split(' ').map(Number);
      if (fields.length < 6) continue;
      const ended = fields[4] * 1000 + fields[5] / 1000;
      phases.find(({ from, to }) => ended >= from && ended < to)?.latencies.push(fields[2] / 1000);
    }
  }
  for (const phase of phases) phase.rate = (phase.latencies.length / (phase.to - phase.from)) * 1000;
  console.log(
    '\nPostgreSQL, 512 MB of shared buffers, pgbench -N -s 25, one connection, its backend under watch',
  );
  for (const [how, pairs] of [
    [EXACT, exact],
    [BUDGETED, budgeted],
  ])
    reportBoth('PostgreSQL, pgbench -N, full speed', pairs, how, { unit: 'transactions/s' });
  await stop(server);
}

// --- A server of Node's -------------------------------------------------------------------------------------------

// Keeps half a million sessions in its heap; each request makes a few anew, and answers with JSON.
const NODE_SERVER = `
const sessions = Array.from({ length: 500_000 }, (_, id) => ({ id, name: 'user ' + id, visits: 0, last: [] }));
const server = require('node:http').createServer((request, response) => {
  const found = [];
  for (let index = 0; index < 20; index++) {
    const at = Math.floor(Math.random() * sessions.length);
    const { id, name, visits } = sessions[at];
    sessions[at] = { id, name, visits: visits + 1, last: [Date.now(), request.url] };
    found.push(sessions[at]);
  }
  response.end(JSON.stringify(found));
});
server.listen(process.argv[1], () => console.log('listens'));
`;

/** Clients that each send the next request when the last one was answered. Tells how many were answered in a time. */
const NODE_CLIENT = `
const http = require('node:http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
let answered = 0;
const next = () =>
  http.get({ socketPath: process.argv[1], path: '/sessions', agent }, (response) => {
    response.resume().on('end', () => { answered++; next(); });
  });
for (let client = 0; client < 16; client++) next();
process.stdin.on('data', () => { process.stdout.write(answered + '\\n'); answered = 0; });
`;

async function benchNode() {
  const socket = join(folder(), 'socket');
  const piped = { stdio: ['pipe', 'pipe', 'pipe'] };
  const server = start(process.execPath, ['-e', NODE_SERVER, socket], piped);
  await eventually('the server listens', async () => (existsSync(socket) ? true : undefined), server);
  const client = start(process.execPath, ['-e', NODE_CLIENT, socket], piped);
  const lines = createInterface({ input: client.child.stdout })[Symbol.asyncIterator]();
  const answered = async () => {
    client.child.stdin.write('?');
    const { value, done } = await lines.next();
    if (done) throw new Error(`The client has ended: ${client.errors}`);
    return Number(value);
  };
  const work = async (seconds = SECONDS) => {
    await answered();
    const began = performance.now();
    await sleep(seconds * 1000);
    return { rate: ((await answered()) / (performance.now() - began)) * 1000 };
  };
  await work();
  console.log('\nA server of Node, half a million sessions in its heap, 16 clients');
  await benchBoth('Node, HTTP, full speed', server.child.pid, work, { unit: 'requests/s' });
  await stop(client);
  await stop(server);
}

// --- Java --------------------------------------------------------------------------------------------------------

// Keeps a million entries and replaces some, for as many milliseconds as a line of its input says; answers with how many a second.
const JAVA = `
import java.util.*;
class Load {
  record Entry(long id, String name, int[] values) {}
  public static void main(String[] args) {
    Entry[] entries = new Entry[1_000_000];
    Random random = new Random(1);
    for (int at = 0; at < entries.length; at++) entries[at] = new Entry(at, "entry " + at, new int[16]);
    Scanner lines = new Scanner(System.in);
    while (lines.hasNextLong()) {
      long began = System.nanoTime(), end = began + lines.nextLong() * 1_000_000;
      long replaced = 0;
      while (System.nanoTime() < end) {
        for (int each = 0; each < 64; each++, replaced++) {
          Entry old = entries[random.nextInt(entries.length)];
          entries[(int) old.id()] = new Entry(old.id(), "entry " + replaced, Arrays.copyOf(old.values(), 16));
        }
      }
      System.out.println(replaced * 1e9 / (System.nanoTime() - began));
    }
  }
}
`;

async function benchJava() {
  const dir = folder();
  const source = join(dir, 'Load.java');
  writeFileSync(source, JAVA);
  const entry = start('java', ['-Xmx1g', '-Xms1g', source], { cwd: dir, stdio: ['pipe', 'pipe', 'pipe'] });
  const lines = createInterface({ input: entry.child.stdout })[Symbol.asyncIterator]();
  const work = async (seconds = SECONDS) => {
    entry.child.stdin.write(`${seconds * 1000}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error(`The Java program has ended: ${entry.errors}`);
    return { rate: Number(value) };
  };
  // The first ones are compiled as they run.
  await work();
  await work();
  console.log('\nA Java program, a heap of 1 GiB with a million entries that are replaced at random');
  await benchBoth('Java, objects replaced, full speed', entry.child.pid, work, { unit: 'objects/s' });
  entry.child.stdin.end();
  await entry.gone;
}

// --- The worst case ----------------------------------------------------------------------------------------------

const WORST_MIB = 1024;

// Rewrites its pages, one after the other, for as many milliseconds as a line of its input says; answers with their number.
const WORST = `
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static double now(void) {
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
	size_t bytes = strtoull(argv[argc - 1], 0, 10) << 20, at = 0;
	char *base = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, bytes, MADV_NOHUGEPAGE);
	memset(base, 1, bytes);
	char line[64];
	while (fgets(line, sizeof line, stdin)) {
		double began = now(), end = began + atof(line);
		uint64_t pages = 0;
		while (now() < end) {
			for (int i = 0; i < 64; i++, pages++) {
				memset(base + at, pages, 4096);
				if ((at += 4096) == bytes) at = 0;
			}
		}
		printf("%f\\n", pages / (now() - began) * 1e3);
		fflush(stdout);
	}
	return 0;
}
`;

async function benchWorst() {
  const program = join(folder(), 'rewrite');
  execFileSync('cc', ['-O2', '-Wall', '-x', 'c', '-o', program, '-'], { input: WORST });
  const entry = start(program, [String(WORST_MIB)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: entry.child.stdout })[Symbol.asyncIterator]();
  const work = async (seconds = SECONDS) => {
    entry.child.stdin.write(`${seconds * 1000}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error('The program that rewrites its memory has ended');
    return { rate: Number(value) };
  };
  await work();
  console.log(`\nA program that does nothing but rewrite all of its ${WORST_MIB} MiB, page by page`);
  await benchBoth('worst case, all pages rewritten in each interval', entry.child.pid, work, {
    unit: 'GiB/s',
    scale: 2 ** 30 / 4096,
  });
  entry.child.stdin.end();
  await once(entry.child, 'exit');
}

// --- All of it ---------------------------------------------------------------------------------------------------

function installed(program) {
  return (process.env['PATH'] ?? '').split(':').some((path) => existsSync(join(path, program)));
}

header();
try {
  const wanted = (name) => given.only === undefined || given.only === name;
  if (wanted('redis')) {
    if (installed('redis-server') && installed('redis-benchmark')) await benchRedis();
    else console.log('Redis is not installed: left out');
  }
  if (wanted('postgres')) {
    const bin = postgresFolder();
    if (bin !== undefined) await benchPostgres(bin);
    else console.log('PostgreSQL (with pgbench) is not installed: left out');
  }
  if (wanted('node')) await benchNode();
  if (wanted('java')) {
    if (installed('java')) await benchJava();
    else console.log('Java is not installed: left out');
  }
  if (wanted('worst')) await benchWorst();
} finally {
  await cleanUp();
}
finish();
