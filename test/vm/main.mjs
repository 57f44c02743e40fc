// `npm run test:vm`: tests on kernels of other releases, in virtual machines.
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { imageFor, prepareImage, writeImage } from './image.mjs';
import { architectureOf, availableKernels, getKernel, KERNELS, KernelGone } from './kernels.mjs';
import { emulatorOf, runMachine, runShell } from './machine.mjs';
import { FACTS, MACHINES, PROFILE_ROW } from './matrix.mjs';
import { differences, newColumns, writeTable } from './table.mjs';
import { findBusybox, machineOf } from './userland.mjs';

const USAGE = `npm run test:vm -- [OPTIONS] [TEST FILE]...   tests on other kernels; without files, all that is meant for them
npm run test:vm -- --kernel 6.1 --shell       a shell on that kernel
npm run test:vm -- --kernel 6.1 -- CMD ARGS   a command on that kernel: -- pmscan doctor

  --kernel NAME      ${KERNELS.join(', ')} (all of them by default); the beginning of any release that Debian has (7.3),
                     a package's name, or its .deb file (with commas between, where there are several); may be repeated.
                     6.12-arm64 is arm64's, with pages of 4 KiB, and 6.12-arm64-16k of 16; the latter and 7.3-arm64 run
                     only when they are named
  --list             the kernels that Debian's archive has
  --fresh            fetches the kernels anew
  --append TEXT      for the kernel's command line
  --with PATH        a program for the guest's processor, with its libraries, a file or a folder, for the guest to have; may be repeated
  --user             commands and test files run as an ordinary user
  --pattern REGEXP   only tests whose name matches
  --write-docs       writes what was measured into docs/reference/kernels.md instead of comparing it
  --facts            only what is measured for that table
  --verbose          each test, and what the tests print
`;

const dashes = process.argv.indexOf('--');
const command = dashes < 0 ? [] : process.argv.slice(dashes + 1);
const { values: options, positionals: files } = parseArgs({
  args: process.argv.slice(2, dashes < 0 ? undefined : dashes),
  allowPositionals: true,
  options: {
    kernel: { type: 'string', multiple: true },
    list: { type: 'boolean', default: false },
    shell: { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
    append: { type: 'string', default: '' },
    with: { type: 'string', multiple: true, default: [] },
    user: { type: 'boolean', default: false },
    pattern: { type: 'string' },
    facts: { type: 'boolean', default: false },
    'write-docs': { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** What the table fails is of no kernel. */
const TABLE = 'table';
/** A silent guest is a hung one: nothing that it does takes so long without a word. */
const SILENCE_MS = 16 * 60_000;
/** A command of the user's may take longer, and be silent meanwhile: who waits for it can end it. */
const COMMAND_MS = 24 * 3600_000;
/** Each has two processors of its own; the tests in them mostly use one. */
const AT_ONCE = Math.min(4, Math.max(2, availableParallelism()));

const user = options.user ? { uid: 1000, gid: 1000 } : {};
const stopped = new AbortController();
/** What was measured: column of the table → { release, facts }. */
const measured = new Map();
/** The column of this machine's own kernel. */
let hereColumn;
/** How much failed, by column of the table: what fails on a kernel that answers as none before is no failure of ours. */
const failures = new Map();

function say(text) {
  process.stdout.write(`${text}\n`);
}

function fail(column, text) {
  failures.set(column, (failures.get(column) ?? 0) + 1);
  say(`FAILED ${text}`);
}

const starts = (program) => spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;

/** Programs, and the Debian packages that have them; some are for machines of one architecture. */
const NEEDED = [
  [emulatorOf('amd64'), 'qemu-system-x86', () => starts(emulatorOf('amd64')), 'amd64'],
  [emulatorOf('arm64'), 'qemu-system-arm', () => starts(emulatorOf('arm64')), 'arm64'],
  ['a static busybox', 'busybox-static', () => findBusybox() !== undefined],
  ['cc', 'gcc libc6-dev', () => starts('cc'), 'amd64'],
  [
    'aarch64-linux-gnu-gcc',
    'gcc-aarch64-linux-gnu libc6-dev-arm64-cross',
    () => starts('aarch64-linux-gnu-gcc'),
    'arm64',
  ],
  ['xz', 'xz-utils', () => starts('xz')],
  ['apt-get and dpkg-deb', 'apt dpkg', () => starts('apt-get') && starts('dpkg-deb')],
];

/** @param architectures those of the machines that are to run */
function checkPrograms(architectures) {
  const missing = NEEDED.filter(
    ([, , isThere, only]) => (only === undefined || architectures.has(only)) && !isThere(),
  );
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name).join(', ');
  const packages = missing.map(([, name]) => name).join(' ');
  throw new Error(`Cannot start virtual machines without ${names}: on Debian, apt-get install ${packages}`);
}

/** What the command line asks to be run on each kernel; undefined when it is what is meant for it. */
function askedJobs() {
  if (options.shell) return [];
  if (command.length > 0) return [{ name: 'command', argv: command, timeoutMs: COMMAND_MS, ...user }];
  if (files.length === 0) return undefined;
  const pattern = options.pattern === undefined ? [] : [options.pattern];
  return files.map((file) => {
    const argv = ['node', 'run-tests.mjs', file.replace(/\.ts$/, '.js'), ...pattern];
    return { name: file, argv, timeoutMs: 600_000, ...user };
  });
}

/** `7.3` is the newest kernel as long as no newer one is, and has its jobs. */
function nameInMatrix(name) {
  const known = MACHINES.find(({ kernel }) => kernel === name)?.kernel;
  return known ?? (getKernel('newest', options).release.startsWith(`${name}.`) ? 'newest' : name);
}

/** The machines that are to run: kernels, with their jobs. */
function machines() {
  const jobs = askedJobs();
  const all = options.shell ? ['newest'] : KERNELS;
  if (jobs !== undefined) return (options.kernel ?? all).map((kernel) => ({ kernel, jobs }));
  const kernels = options.kernel?.map(nameInMatrix);
  const isWanted = ({ kernel, onDemand }) => kernels?.includes(kernel) ?? onDemand !== true;
  return (options.facts ? FACTS : MACHINES).filter(isWanted);
}

function factsOf(column, release) {
  if (!measured.has(column)) measured.set(column, { release, facts: {} });
  return measured.get(column).facts;
}

/** What one job has said so far. */
class Job {
  passed = 0;
  failed = 0;
  skipped = 0;
  stdout = '';
  stderr = '';
  ended = false;
  processorMs = 0;
}

/** Takes the messages of one machine and judges its jobs. */
class Judge {
  #kernel;
  #jobs;

  constructor(kernel, jobs) {
    this.#kernel = kernel;
    this.#jobs = new Map(jobs.map((job) => [job.name, Object.assign(new Job(), { plan: job })]));
  }

  take(message, processorMs) {
    const job = this.#jobs.get(message.job);
    if (job === undefined) return;
    if (message.begin !== undefined) job.processorMs = -processorMs;
    if (message.end !== undefined) job.processorMs += processorMs;
    if (message.stdout !== undefined) job.stdout += message.stdout;
    if (message.stderr !== undefined) job.stderr += message.stderr;
    if (command.length > 0 && message.stdout !== undefined) process.stdout.write(message.stdout);
    if (command.length > 0 && message.stderr !== undefined) process.stderr.write(message.stderr);
    if (message.test !== undefined) this.#test(job, message);
    if (message.end !== undefined) this.#end(job, message.end);
  }

  #test(job, { test, result, ms, message }) {
    job[result]++;
    const where = `${this.#kernel.release}: ${job.plan.name}`;
    if (result === 'failed') this.#fail(`${where} > ${test}\n${message}`);
    else if (options.verbose)
      say(`${result} ${where} > ${test}${ms === undefined ? '' : ` (${ms} ms)`} ${message ?? ''}`);
  }

  #end(job, { code, timedOut, stuck, ms }) {
    job.ended = true;
    const { plan } = job;
    const inSeconds = (time) => `${(time / 1000).toFixed(0)} s`;
    const seconds = `${inSeconds(ms)}, ${inSeconds(job.processorMs)} of processors`;
    const where = `${this.#kernel.release}: ${plan.name}`;
    const counts = ['passed', 'failed', 'skipped']
      .filter((kind) => job[kind] > 0)
      .map((kind) => `${job[kind]} ${kind}`);
    const facts = factsOf(this.#kernel.column, this.#kernel.release);
    if (plan.name === 'features' && code === 0) {
      Object.assign(facts, JSON.parse(job.stdout).facts);
      job.stdout = `${Object.keys(facts).length} facts`;
    }
    const begun = job.stdout.includes('begins');
    if (plan.fact !== undefined && begun) facts[plan.fact] = this.#dangerFact(job, { timedOut, stuck });
    if (plan.mayHang && begun && (timedOut || code === 0)) {
      say(
        `${where}: ${timedOut ? `hung${stuck ? ', and cannot be killed' : ''}` : job.stdout.trim().replaceAll('\n', ', ')} (${seconds})`,
      );
    } else if (timedOut) this.#fail(`${where}: no end after ${seconds}\n${job.stdout}${job.stderr}`);
    else if (command.length > 0) process.exitCode = code ?? 1;
    else if (code !== 0)
      this.#fail(`${where}: exit code ${code} (${seconds})\n${(job.stdout + job.stderr).slice(-4000)}`);
    else
      say(
        `${where}: ${counts.join(', ') || job.stdout.trim().split('\n').at(-1).slice(0, 100)} (${seconds})`,
      );
  }

  #fail(text) {
    fail(this.#kernel.column, text);
  }

  #dangerFact(job, { timedOut, stuck }) {
    if (timedOut) return stuck ? 'yes, unkillably' : 'yes, until killed';
    return job.stdout.includes('no such advice') ? 'there is no such advice' : 'no';
  }

  /** Jobs that the machine did not come to an end with. */
  finish() {
    for (const { ended, plan } of this.#jobs.values()) {
      if (!ended) this.#fail(`${this.#kernel.release}: ${plan.name}: the machine ended before it`);
    }
  }
}

let number = 0;

/**
 * A kernel changes its own code while it boots, and the emulator's processors do not always agree on it at once: some boots of 6.12.43 on
 * a busy machine end in a panic.
 */
const MOST_BOOTS = 3;

async function runMachineOf({ kernel: name, jobs }, kernels, parts, folder) {
  const kernel = kernels.get(name);
  const file = join(folder, `machine-${++number}`);
  writeImage(`${file}.cpio`, parts.get(kernel.architecture), kernel, { boot: {}, jobs });
  const judge = new Judge(kernel, jobs);
  let begun = false;
  const boot = () =>
    runMachine(kernel, `${file}.cpio`, {
      console: `${file}.log`,
      append: options.append,
      silenceMs: command.length > 0 ? COMMAND_MS : SILENCE_MS,
      onMessage: (message, processorMs) => {
        begun = true;
        judge.take(message, processorMs);
      },
      signal: stopped.signal,
    });
  try {
    let outcome = await boot();
    for (let boots = 1; !begun && boots < MOST_BOOTS && !stopped.signal.aborted; boots++) {
      say(`${kernel.release}: the machine ended before anything ran; once more`);
      outcome = await boot();
    }
    if (stopped.signal.aborted) return;
    judge.finish();
    if (!outcome.done) say(`The console's end:\n${outcome.console.slice(-4000)}`);
  } finally {
    rmSync(`${file}.cpio`, { force: true });
  }
}

/** The kernels of a plan, by name. */
function fetchKernels(plan) {
  const kernels = new Map();
  for (const name of new Set(plan.map(({ kernel }) => kernel))) {
    try {
      kernels.set(name, getKernel(name, options));
    } catch (error) {
      // Who names it wants it; otherwise the others are as good without it.
      if (!(error instanceof KernelGone) || options.kernel !== undefined) throw error;
      say(`${error.message}; its column of docs/reference/kernels.md stays as it is`);
    }
  }
  return kernels;
}

/** What an ELF file says whose programs it has (`e_machine`), by Debian's names. */
const E_MACHINE = new Map([
  [62, 'amd64'],
  [183, 'arm64'],
]);

/** Fails for a program that a guest of that architecture cannot run. */
function checkMachine(path, architecture) {
  const machine = statSync(path).isDirectory() ? undefined : machineOf(path);
  if (machine === undefined) return;
  const own = E_MACHINE.get(machine) ?? `another processor (${machine})`;
  if (own !== architecture)
    throw new Error(`Cannot give ${path} to a machine of ${architecture}: it is a program for ${own}`);
}

/** What machines share, by architecture. */
function partsByArchitecture(kernels, shared) {
  const architectures = new Set([...kernels.values()].map(({ architecture }) => architecture));
  for (const path of shared.with) for (const name of architectures) checkMachine(path, name);
  return new Map([...architectures].map((name) => [name, imageFor(name, shared)]));
}

async function runAll(folder) {
  const wanted = machines();
  checkPrograms(new Set(wanted.map(({ kernel }) => architectureOf(kernel))));
  if (wanted.length === 0)
    throw new Error(`Cannot test ${options.kernel}: nothing is meant for it; name a test`);
  const kernels = fetchKernels(wanted);
  const plan = wanted.filter(({ kernel }) => kernels.has(kernel));
  const parts = partsByArchitecture(kernels, {
    ...prepareImage(folder),
    with: options.with.map((path) => resolve(path)),
  });
  if (options.shell) {
    const kernel = [...kernels.values()][0];
    writeImage(join(folder, 'shell.cpio'), parts.get(kernel.architecture), kernel, {
      boot: { shell: 1 },
      jobs: [],
    });
    return runShell(kernel, join(folder, 'shell.cpio'), { ...options, signal: stopped.signal });
  }
  const whole = command.length === 0 && files.length === 0;
  const work = [...plan];
  const worker = async () => {
    for (let next = work.shift(); next !== undefined && !stopped.signal.aborted; next = work.shift()) {
      await runMachineOf(next, kernels, parts, folder);
    }
  };
  // This kernel, too: it has a column of its own.
  if (whole && options.kernel === undefined) measureHere(folder);
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (!whole || stopped.signal.aborted) return;
  if (options['write-docs']) writeTable(measured);
  else compareTable();
}

function compareTable() {
  const found = differences(measured);
  for (const column of newColumns(measured)) {
    const as = found.some((each) => each.column === column) ? '' : ': it is as the one before it';
    say(`docs/reference/kernels.md has no column for Linux ${column} yet${as}`);
  }
  for (const { column, text } of found) report(column, `docs/reference/kernels.md: ${text}`);
  for (const { column, id } of found) if (id === PROFILE_ROW) excuse(column);
}

/** How this machine is set up is its owner's business; what a kernel that is fetched does is ours. */
function report(column, text) {
  if (column === hereColumn) say(`differs here: ${text}`);
  else fail(TABLE, text);
}

/** The tests go by what was known of kernels: what this one does otherwise is to be written down first. */
function excuse(column) {
  const count = failures.get(column) ?? 0;
  failures.delete(column);
  if (count > 0) say(`${count} failures on Linux ${column} are not counted: it answers as no kernel before`);
}

function measureHere(folder) {
  const root = join(import.meta.dirname, '../..');
  for (const name of ['node_modules', 'dist', 'package.json'])
    symlinkSync(join(root, name), join(folder, 'js', name));
  const { stdout } = spawnSync(process.execPath, [join(folder, 'js/test/vm/features.js')], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { release, facts } = JSON.parse(stdout);
  hereColumn = release.split('.').slice(0, 2).join('.');
  Object.assign(factsOf(hereColumn, release), facts);
  say(`${release}: features, here`);
}

async function main() {
  if (options.help) return void process.stdout.write(USAGE);
  if (options.list) return void process.stdout.write(`${availableKernels().join('\n')}\n`);
  const started = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-vm-'));
  // A part of what is measured here is measured as another user.
  chmodSync(folder, 0o755);
  // Each time: timeout(1), for one, says it twice.
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(name, () => stopped.abort());
  try {
    await runAll(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  if (stopped.signal.aborted) {
    process.exitCode = 130;
    return;
  }
  const failed = [...failures.values()].reduce((sum, count) => sum + count, 0);
  if (failed > 0) process.exitCode = 1;
  if (command.length > 0 || options.shell) return;
  say(
    `${failed === 0 ? 'All good' : `${failed} failed`}, ${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
