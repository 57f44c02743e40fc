/** The newest Node.js, whatever runs these tests: the command, the live conformance suite and the unit tests on it. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { testWhere } from '../support/needs.js';
import { freeze } from '../support/servers.js';

const execute = promisify(execFile);

const ROOT = join(import.meta.dirname, '../..');
const COMMAND = join(ROOT, 'dist/cli/main.js');
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');
/** Kept from run to run: it is 200 MB. */
const FOLDER = join(ROOT, '.build/newest-node');
const TIMEOUT_MS = 900_000;

/** What vitest and npm put into the environment of a test speaks of this run, and must not reach the one inside. */
function freshEnvironment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) =>
      !/^(VITEST|NODE_|npm_(package|lifecycle|command|execpath|node_execpath|config_local_prefix)|(TEST|PROD|DEV|SSR|MODE|BASE_URL|INIT_CWD)$)/.test(
        name,
      ),
  );
  return {
    ...Object.fromEntries(inherited),
    npm_config_loglevel: 'error',
    npm_config_update_notifier: 'false',
  };
}

/** The parts of vitest's JSON report that are looked at. */
interface TestReport {
  readonly success: boolean;
  readonly numPassedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
}

async function run(cwd: string, program: string, ...args: string[]): Promise<Outcome> {
  try {
    return await execute(program, args, { cwd, env: freshEnvironment(), maxBuffer: 2 ** 28 });
  } catch (error) {
    const { stdout, stderr } = error as Outcome;
    throw new Error(`${program} ${args.join(' ')}\n${stdout}\n${stderr}`, { cause: error });
  }
}

function nodeIn(folder: string): string {
  return join(folder, 'node_modules/node/bin/node');
}

/** '26.1.0' of the Node.js that is installed in `folder`; undefined when none is that runs. */
async function versionIn(folder: string): Promise<string | undefined> {
  if (!existsSync(nodeIn(folder))) return undefined;
  try {
    return (await run(folder, nodeIn(folder), '-p', 'process.versions.node')).stdout.trim();
  } catch {
    return undefined;
  }
}

function major(version: string): string {
  return version.split('.')[0]!;
}

/** Installs the npm package `node`, which brings the program, unless the newest major version is there. */
async function install(): Promise<string> {
  const present = await versionIn(FOLDER);
  const newest = await run(ROOT, 'npm', 'view', 'node@latest', 'version').then(
    ({ stdout }) => stdout.trim(),
    (error: Error) => error,
  );
  if (newest instanceof Error) {
    if (present !== undefined) return present;
    throw newest;
  }
  if (present !== undefined && major(present) === major(newest)) return present;

  // Beside its place, then moved there: an installation that was interrupted is never taken for a whole one.
  const folder = `${FOLDER}-${process.pid}`;
  try {
    mkdirSync(folder, { recursive: true });
    // The package downloads the program in a script, which newer versions of npm run only for packages named here.
    const manifest = { private: true, allowScripts: { node: true } };
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
    await run(folder, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', `node@${newest}`);
    const version = await versionIn(folder);
    if (version === undefined) throw new Error(`node@${newest} was installed, but does not run`);
    rmSync(FOLDER, { recursive: true, force: true });
    renameSync(folder, FOLDER);
    return version;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

let version = '';
/** Why there is no newest Node.js here. */
let missing: string | undefined;

beforeAll(async () => {
  try {
    version = await install();
    console.log(`Node.js ${version}, beside ${process.versions.node}`);
  } catch (error) {
    if (process.env['CI']) throw error;
    missing = `the newest Node.js cannot be installed: ${(error as Error).message.slice(-300)}`;
    console.log(`Skipped: ${missing}`);
  }
}, TIMEOUT_MS);

beforeEach(({ skip }) => skip(missing !== undefined, missing));

/** Runs the command with the newest Node.js; it must not so much as warn. */
async function pmscan(...args: string[]): Promise<string> {
  const { stdout, stderr } = await run(ROOT, nodeIn(FOLDER), COMMAND, ...args);
  expect(stderr).toBe('');
  return stdout;
}

testWhere('pagemap-scan')(
  'pmscan demo',
  async () => {
    expect(await pmscan('demo')).toContain('a counter');
  },
  TIMEOUT_MS,
);

test(
  'pmscan doctor',
  async () => {
    const { schema, system } = JSON.parse(await pmscan('doctor', '--json')) as {
      schema: string;
      system: Readonly<Record<string, string>>;
    };
    expect(schema).toBe('pagemap-scan/doctor@1');
    expect(system['node']).toBe(`v${version} (${process.arch})`);
  },
  TIMEOUT_MS,
);

testWhere('pagemap-scan')(
  'pmscan scan says the same as with the Node.js that runs this test',
  async () => {
    const script =
      "globalThis.kept = Buffer.alloc(32 << 20, 7); console.log('ready'); setInterval(() => {}, 1e6);";
    const child = spawn(nodeIn(FOLDER), ['-e', script], {
      env: freshEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    try {
      await once(child.stdout, 'data');
      using frozen = await freeze(child.pid!);
      const args = ['scan', String(frozen.pid), '--where', 'present | swapped', '--json'];
      const here = async () => (await run(ROOT, process.execPath, COMMAND, ...args)).stdout;
      // The kernel may move or reclaim a page of a stopped process, too: what counts is an answer between two equal ones.
      let before = await here();
      for (let attempt = 1; ; attempt++) {
        const there = await pmscan(...args);
        const after = await here();
        if (before === after) {
          expect(there).toBe(before);
          break;
        }
        if (attempt === 20) throw new Error('The pages of a stopped process never stood still');
        before = after;
      }
      const { totals } = JSON.parse(before) as { totals: { pages: number } };
      expect(totals.pages).toBeGreaterThan((32 << 20) / 4096);
    } finally {
      child.kill('SIGKILL');
      await exited;
    }
  },
  TIMEOUT_MS,
);

testWhere('pagemap-scan', 'wp-async', 'ptrace')(
  'pmscan core --compress zstd, which older ones cannot',
  async () => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' });
    const compressed = join(FOLDER, 'sleep.core.zst');
    try {
      const { bytes } = JSON.parse(
        await pmscan('core', String(child.pid), '-o', compressed, '--compress', 'zstd', '--json'),
      ) as { bytes: number };
      const script = `const core = require('zlib').zstdDecompressSync(require('fs').readFileSync(process.argv[1]));
        console.log(core.length, core.toString('latin1', 1, 4))`;
      const { stdout } = await run(FOLDER, nodeIn(FOLDER), '-e', script, compressed);
      expect(stdout.trim()).toBe(`${bytes} ELF`);
    } finally {
      child.kill();
      rmSync(compressed, { force: true });
    }
  },
  TIMEOUT_MS,
);

testWhere('pagemap-scan')(
  'unit tests and the live conformance suite',
  async () => {
    // Never the tests in this folder, this one among them: they would start themselves again.
    const chosen = ['run', 'src', 'test/conformance', '--exclude', 'test/e2e/**', '--reporter', 'json'];
    const { stdout, stderr } = await execute(nodeIn(FOLDER), [VITEST, ...chosen], {
      cwd: ROOT,
      env: freshEnvironment(),
      maxBuffer: 2 ** 28,
    }).catch((error: Outcome) => error);
    const report = stdout.slice(stdout.indexOf('{"'));
    if (report === '' || !report.startsWith('{')) throw new Error(`No report:\n${stdout}\n${stderr}`);
    const result = JSON.parse(report) as TestReport;
    const failures = result.testResults.flatMap(({ name, message, assertionResults }) => {
      const failed = assertionResults.filter(({ status }) => status === 'failed');
      const messages = failed.map(
        ({ fullName, failureMessages }) => `${fullName}: ${failureMessages.join('\n')}`,
      );
      return message ? [`${name}: ${message}`, ...messages] : messages;
    });
    expect(failures).toEqual([]);
    expect(result.success).toBe(true);
    const files = result.testResults.map(({ name }) => name.slice(ROOT.length + 1));
    expect(files).toContain('test/conformance/live.test.ts');
    expect(files.some((name) => name.startsWith('src/'))).toBe(true);
    expect(files.filter((name) => name.startsWith('test/e2e/'))).toEqual([]);
    console.log(`${result.numPassedTests} tests in ${files.length} files passed`);
    expect(result.numPassedTests).toBeGreaterThan(50);
  },
  TIMEOUT_MS,
);
