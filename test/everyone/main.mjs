// Runs a command where not everything is there: as another user, without programs, inside of a sandbox, under load.
//   npm run test:everyone -- [--here] SURROUNDING… -- CMD ARGS
//   npm run test:everyone -- user bare offline -- npm test
//   npm run test:everyone -- user busy --smoke   the tests that ask the kernel most
//   npm run test:everyone -- --smoke             these, and npm start, in each of several sandboxes
// The command runs in a clone of this tree, changes included, that is made for it and removed afterwards; with --here, in this
// tree. Nothing of the machine is changed: all is done by namespaces, seccomp filters and bind mounts that nobody else sees.
// Most of it takes root; `busy`, `node=…` and the filters do not.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installNode } from '../support/nodes.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const BUILD = join(ROOT, '.build');
/** An ordinary user that every system has. */
const USER = { uid: 65534, gid: 65534 };

/** What `bare` hides: servers, browsers, debuggers, compilers. */
const PROGRAMS = [
  ...[
    'redis-server',
    'redis-cli',
    'psql',
    'postgres',
    'initdb',
    'chromium',
    'google-chrome',
    'google-chrome-stable',
  ],
  ...['prometheus', 'gdb', 'lldb', 'drgn', 'eu-stack', 'cc', 'gcc', 'clang', 'setpriv'],
];
const FOLDERS = ['/usr/lib/postgresql'];
const REFUSED = ['userfaultfd', 'ptrace', 'process_vm_readv', 'pidfd_getfd'];

/** Each surrounding by its name: what it is, and what it asks for. */
const SURROUNDINGS = {
  user: { is: 'an ordinary user, in a clone of its own', user: true },
  bare: { is: 'no Redis, PostgreSQL, Chromium, Prometheus, debugger, compiler', hidden: true },
  offline: { is: 'no network but the loopback, once the packages are installed', unshare: ['--net'] },
  'no-swap': { is: 'nothing is swapped out', forbid: ['pageout'], covered: { '/proc/swaps': 'Filename\n' } },
  'no-huge-pages': {
    is: 'no hugetlb pages are to be had',
    forbid: ['hugetlb'],
    covered: { '/proc/sys/vm/nr_hugepages': '0\n', '/proc/meminfo': withoutHugePages },
  },
  hidepid: { is: "a /proc that hides other users' processes", unshare: ['--mount'], proc: 'hidepid=2' },
  container: {
    is: `user, process and mount namespaces, hidepid, a filter that answers EPERM to ${REFUSED.join(', ')}`,
    container: true,
    forbid: REFUSED,
  },
  'container-enosys': {
    is: 'the same, but its filter answers ENOSYS',
    container: true,
    forbid: ['38', ...REFUSED],
  },
  'no-pagemap': { is: 'no /proc/PID/pagemap', hide: 'pagemap' },
  busy: { is: 'all processors kept busy by another program at the same priority', busy: true },
};
/** What the smoke tests run in. */
const SANDBOXES = [
  ['container'],
  ['container-enosys', 'bare', 'offline', 'no-swap', 'no-huge-pages'],
  ['no-pagemap', 'hidepid'],
  ['node=22'],
  ['node=24'],
];
/** The tests that ask the kernel most: where something is not there, these notice. */
const SMOKE = [
  ...['npx', 'vitest', 'run', 'test/live', 'test/conformance', 'test/track/own', 'test/track/process'],
  ...['test/track/soft-dirty', 'test/track/exact', 'test/e2e/fallback', 'test/e2e/cli', 'test/web/server'],
];

/** How long the command has to end in order. */
const FAREWELL_MS = 10_000;
const NODE = /^node=(\d+|newest)$/;

function withoutHugePages() {
  return readFileSync('/proc/meminfo', 'utf8').replace(/^(HugePages_\w+: +)\d+/gm, '$10');
}

const isRoot = process.geteuid() === 0;
const run = (program, args, options = {}) => execFileSync(program, args, { stdio: 'inherit', ...options });

function usage(problem) {
  if (problem) console.error(`${problem}\n`);
  console.error(
    'npm run test:everyone -- [--here] SURROUNDING… -- CMD ARGS\nnpm run test:everyone -- [--here] SURROUNDING… --smoke   the tests that ask the kernel most\n\nSurroundings, any of them together:',
  );
  for (const [name, { is }] of Object.entries(SURROUNDINGS)) console.error(`  ${name.padEnd(18)}${is}`);
  console.error(`  ${'node=NUMBER'.padEnd(18)}Node.js of that major version; node=newest: the newest`);
  process.exit(2);
}

/** All that the given surroundings ask for, together. */
function combine(names) {
  const wanted = { names, unshare: new Set(), forbid: [], covered: {}, proc: undefined };
  for (const name of names) {
    const node = NODE.exec(name)?.[1];
    if (node === undefined && SURROUNDINGS[name] === undefined) usage(`There is no surrounding ${name}`);
    const { unshare = [], forbid = [], covered = {}, ...rest } = SURROUNDINGS[name] ?? { node };
    for (const kind of unshare) wanted.unshare.add(kind);
    wanted.forbid.push(...forbid);
    Object.assign(wanted.covered, covered);
    Object.assign(wanted, rest);
  }
  if (wanted.hidden || Object.keys(wanted.covered).length > 0) wanted.unshare.add('--mount');
  return wanted;
}

// --- What it takes ------------------------------------------------------------------------------------------------

/** A program of test/native. It is compiled before the compiler is hidden. */
function native(name) {
  const [source, program] = [join(ROOT, 'test/native', `${name}.c`), join(BUILD, name)];
  mkdirSync(BUILD, { recursive: true });
  if (!existsSync(program) || statSync(program).mtimeMs <= statSync(source).mtimeMs) {
    const headers = process.env.PMSCAN_KERNEL_HEADERS;
    const include = headers === undefined ? [] : ['-isystem', headers];
    run('cc', ['-O2', '-Wall', '-Werror', ...include, '-o', `${program}.${process.pid}`, source]);
    renameSync(`${program}.${process.pid}`, program);
  }
  return program;
}

/** The files of this tree that git knows of or would add, copied. */
function copyTree(folder) {
  const options = { cwd: ROOT, encoding: 'utf8', maxBuffer: 2 ** 26 };
  const trust = ['-c', `safe.directory=${realpathSync(ROOT)}`];
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  for (const path of execFileSync('git', [...trust, ...list], options).split('\0')) {
    if (path === '' || !lstatSync(join(ROOT, path), { throwIfNoEntry: false })?.isFile()) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(ROOT, path), join(folder, path));
  }
}

/** A clone with its packages installed, of the one who will use it. */
function makeClone(home, wanted, env) {
  const clone = join(home, 'pagemap-scan');
  mkdirSync(clone);
  copyTree(clone);
  // Root's tests start programs as other users.
  chmodSync(home, 0o755);
  if (wanted.user) {
    run('chown', ['-R', `${USER.uid}:${USER.gid}`, home]);
  }
  const who = wanted.user ? USER : {};
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel', 'error'], { cwd: clone, env, ...who });
  return clone;
}

/** A copy of a program where every user may run it. */
function shared(home, program) {
  const copy = join(home, program.split('/').at(-1));
  cpSync(program, copy);
  chmodSync(copy, 0o755);
  return copy;
}

const quoted = (text) => `'${String(text).replaceAll("'", "'\\''")}'`;

/** The shell's commands that cover files and folders, in the mount namespace. */
function mounts(home, wanted) {
  const lines = ['set -e', 'mount --make-rprivate /'];
  // Before anything is covered in it: the kernel gives no new /proc to a user namespace whose old one is not whole.
  if (wanted.proc) lines.push(`mount -t proc -o ${wanted.proc} proc /proc`);
  const nothing = join(home, 'nothing');
  writeFileSync(nothing, '', { mode: 0o644 });
  if (wanted.hidden) {
    const folders = process.env.PATH.split(delimiter);
    const programs = PROGRAMS.flatMap((name) => folders.map((folder) => join(folder, name))).filter(
      existsSync,
    );
    const keep = wanted.user || wanted.container ? /\/setpriv$/ : /^$/;
    for (const program of new Set(programs.map((path) => realpathSync(path))))
      if (!keep.test(program)) lines.push(`mount --bind ${quoted(nothing)} ${quoted(program)}`);
    for (const folder of FOLDERS) if (existsSync(folder)) lines.push(`mount -t tmpfs none ${quoted(folder)}`);
  }
  for (const [index, [path, text]] of Object.entries(wanted.covered).entries()) {
    const file = join(home, `covered-${index}`);
    writeFileSync(file, typeof text === 'function' ? text() : text, { mode: 0o644 });
    if (existsSync(path)) lines.push(`mount --bind ${quoted(file)} ${quoted(path)}`);
  }
  // A network namespace comes with its loopback down.
  if (wanted.unshare.has('--net')) lines.push('ip link set lo up 2>/dev/null || ifconfig lo up');
  return [...lines, 'exec "$@"'].join('\n');
}

/** The command with all that goes before it. */
function chain(home, wanted, command) {
  // It ends with this process, however that ends.
  const parts = ['setpriv', '--pdeathsig', 'KILL', '--'];
  const inside = wanted.container ? { ...wanted, proc: 'hidepid=2' } : wanted;
  if (wanted.unshare.size > 0 || wanted.container) {
    const kinds = new Set([...wanted.unshare, '--mount']);
    if (wanted.container)
      for (const kind of ['--map-root-user', '--pid', '--fork', '--kill-child']) kinds.add(kind);
    parts.push('unshare', ...kinds, 'sh', '-c', mounts(home, inside), 'sh');
  }
  if (wanted.user && !wanted.container) {
    const { uid, gid } = USER;
    const identity = ['--reuid', uid, '--regid', gid, '--clear-groups'];
    parts.push('setpriv', ...identity, '--pdeathsig', 'KILL', '--');
  }
  if (wanted.hide) parts.push(shared(home, native('hide')), wanted.hide, '--');
  if (wanted.forbid.length > 0) parts.push(shared(home, native('forbid')), ...wanted.forbid, '--');
  return [...parts, ...command].map(String);
}

/** Keeps every processor busy until it is disposed. */
function keepBusy() {
  const children = Array.from({ length: availableParallelism() }, () =>
    // They end with their starter, however that ends.
    spawn(
      process.execPath,
      [
        '-e',
        'new (require("worker_threads").Worker)("for (;;);", { eval: true }); process.stdin.resume().on("end", () => process.exit())',
      ],
      {
        stdio: ['pipe', 'ignore', 'inherit'],
      },
    ),
  );
  return () => {
    for (const child of children) child.kill('SIGKILL');
  };
}

/** Runs the command in the surroundings; its exit code. */
async function runIn({ names, here, command }) {
  const wanted = combine(names);
  const needsRoot = wanted.user || (wanted.unshare.size > 0 && !wanted.container);
  if (needsRoot && !isRoot) usage(`${names.join(', ')}: this takes root`);
  if (here && wanted.user) usage('--here: another user needs a clone');

  const home = mkdtempSync(join(tmpdir(), 'pmscan-everyone-'));
  // What npm tells its scripts is about this tree, not about the clone; that nothing may be skipped holds for whole machines.
  const lacking = names.some((name) => name !== 'busy');
  const left = lacking
    ? /^(npm_|INIT_CWD$|VITEST|PMSCAN_TEST_|CI$)/
    : /^(npm_|INIT_CWD$|VITEST|PMSCAN_TEST_)/;
  const inherited = Object.entries(process.env).filter(([name]) => !left.test(name));
  const path = wanted.node
    ? [installNode(wanted.node).bin, process.env.PATH].join(delimiter)
    : process.env.PATH;
  const own = wanted.user
    ? { HOME: home, USER: 'nobody', LOGNAME: 'nobody', npm_config_cache: join(home, 'npm') }
    : {};
  const env = { ...Object.fromEntries(inherited), PATH: path, ...own };
  let busy = () => {};
  try {
    const cwd = here ? ROOT : makeClone(home, wanted, env);
    const [program, ...rest] = chain(home, wanted, command);
    if (wanted.busy) busy = keepBusy();
    const child = spawn(program, rest, { cwd, env, stdio: 'inherit' });
    stop = (signal) => {
      child.kill(signal);
      // The first process of a namespace is not ended by signals that it does not wait for.
      setTimeout(() => child.kill('SIGKILL'), FAREWELL_MS).unref();
    };
    const [code] = await once(child, 'exit');
    return code ?? 1;
  } finally {
    stop = () => {};
    busy();
    // The command may have left what is not ours to remove: inside of namespaces it was root, too.
    rmSync(home, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** Ends what runs. */
let stop = () => {};
let ended = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    ended = true;
    stop(signal);
  });
}

/** What runs in sandboxes, one after the other; all of them run, and one that fails makes the exit code 1. */
async function smoke() {
  const results = [];
  for (const names of SANDBOXES) {
    for (const command of [SMOKE, ['npm', 'start']]) {
      if (ended) return 130;
      const began = performance.now();
      const code = await runIn({ names, here: true, command });
      const seconds = Math.round((performance.now() - began) / 1000);
      results.push({
        text: `${names.join(' ')}: ${command.slice(0, 3).join(' ')}: exit code ${code}, ${seconds} s`,
        code,
      });
    }
  }
  for (const { text } of results) console.log(text);
  return results.every(({ code }) => code === 0) ? 0 : 1;
}

async function main() {
  const args = process.argv.slice(2);
  if (args[0] === '--smoke') return smoke();
  const here = args[0] === '--here';
  if (here) args.shift();
  if (args.length > 1 && args.at(-1) === '--smoke')
    return runIn({ names: args.slice(0, -1), here, command: SMOKE });
  const dashes = args.indexOf('--');
  if (dashes < 0 || dashes === args.length - 1) usage();
  return runIn({ names: args.slice(0, dashes), here, command: args.slice(dashes + 1) });
}

const code = await main();
process.exitCode = ended ? 130 : code;
