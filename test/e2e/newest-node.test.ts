/** The newest Node.js, whatever runs these tests: the command and the live conformance suite on it. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import { testWhere } from '../support/needs.js';
import { installNode } from '../support/nodes.mjs';
import { firstOutput } from '../support/output.mjs';
import { freeze } from '../support/servers.js';
import { undisturbed } from '../support/undisturbed.js';

const execute = promisify(execFile);

const ROOT = join(import.meta.dirname, '../..');
const COMMAND = join(ROOT, 'dist/cli/main.js');
const VITEST = join(ROOT, 'node_modules/vitest/vitest.mjs');
const TIMEOUT_MS = 900_000;

/** What vitest and npm put into the environment of a test speaks of this run, and must not reach the one inside. */
function freshEnvironment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(
    ([name]) =>
      !/^(VITEST|NODE_|npm_(package|lifecycle|command|execpath|node_execpath|config_local_prefix)|(TEST|PROD|DEV|SSR|MODE|BASE_URL|INIT_CWD)$)/.test(
        name,
      ),
  );
  return Object.fromEntries(inherited);
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

let version = '';
/** The newest Node.js. */
let node = '';
/** Why there is no newest Node.js here. */
let missing: string | undefined;

beforeAll(() => {
  try {
    const installed = installNode('newest');
    version = installed.version;
    node = join(installed.bin, 'node');
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
  const { stdout, stderr } = await run(ROOT, node, COMMAND, ...args);
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
    const child = spawn(node, ['-e', script], {
      env: freshEnvironment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    try {
      await firstOutput(child);
      using frozen = await freeze(child.pid!);
      const args = ['scan', String(frozen.pid), '--where', 'present | swapped', '--json'];
      const here = async () => (await run(ROOT, process.execPath, COMMAND, ...args)).stdout;
      const { answer, expected } = await undisturbed('A stopped process', here, () => pmscan(...args));
      expect(answer).toBe(expected);
      const { totals } = JSON.parse(expected) as { totals: { pages: number } };
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
    const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-newest-'));
    const compressed = join(folder, 'sleep.core.zst');
    try {
      const { bytes } = JSON.parse(
        await pmscan('core', String(child.pid), '-o', compressed, '--compress', 'zstd', '--json'),
      ) as { bytes: number };
      const script = `const core = require('zlib').zstdDecompressSync(require('fs').readFileSync(process.argv[1]));
        console.log(core.length, core.toString('latin1', 1, 4))`;
      const { stdout } = await run(folder, node, '-e', script, compressed);
      expect(stdout.trim()).toBe(`${bytes} ELF`);
    } finally {
      child.kill();
      rmSync(folder, { recursive: true });
    }
  },
  TIMEOUT_MS,
);

testWhere('pagemap-scan')(
  'the live conformance suite',
  async () => {
    const chosen = ['run', 'test/conformance/live.test.ts', '--reporter', 'json'];
    const { stdout, stderr } = await execute(node, [VITEST, ...chosen], {
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
    expect(result.numPassedTests).toBeGreaterThan(50);
  },
  TIMEOUT_MS,
);
