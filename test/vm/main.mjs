// `npm run test:vm`: tests on kernels of other releases, in virtual machines.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { prepareImage, writeImage } from './image.mjs';
import { availableKernels, getKernel, KERNELS } from './kernels.mjs';
import { runMachine, runShell } from './machine.mjs';

const USAGE = `npm run test:vm -- [OPTIONS] [TEST FILE]...   tests on other kernels; without files, all that is meant for them
npm run test:vm -- --kernel 6.1 --shell       a shell on that kernel
npm run test:vm -- --kernel 6.1 -- CMD ARGS   a command on that kernel: -- pmscan doctor

  --kernel NAME      ${KERNELS.join(' or ')} (all of them by default), a Debian package's name, or its .deb file; may be repeated
  --list             the kernels that Debian's archive has
  --fresh            fetches the kernels anew
  --append TEXT      for the kernel's command line
  --user             commands and test files run as an ordinary user
  --pattern REGEXP   only tests whose name matches
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
    user: { type: 'boolean', default: false },
    pattern: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** A silent guest is a hung one: nothing that it does takes so long without a word. */
const SILENCE_MS = 300_000;

const user = options.user ? { uid: 1000, gid: 1000 } : {};

function jobsFor() {
  if (command.length > 0) return [{ name: 'command', argv: command, timeoutMs: 600_000, ...user }];
  return files.map((file) => ({
    name: file,
    argv: [
      'node',
      'run-tests.mjs',
      file.replace(/\.ts$/, '.js'),
      ...(options.pattern === undefined ? [] : [options.pattern]),
    ],
    timeoutMs: 600_000,
    ...user,
  }));
}

async function runOn(kernel, parts, folder) {
  const initrd = join(folder, `${kernel.name.replaceAll('/', '_')}.cpio`);
  const boot = options.shell ? { shell: 1 } : {};
  writeImage(initrd, parts, kernel, { boot, jobs: jobsFor() });
  if (options.shell) {
    await runShell(kernel, initrd, options);
    return true;
  }
  let good = true;
  const outcome = await runMachine(kernel, initrd, {
    console: join(folder, `${kernel.name.replaceAll('/', '_')}.log`),
    append: options.append,
    silenceMs: SILENCE_MS,
    onMessage(message) {
      if (message.stdout !== undefined) process.stdout.write(message.stdout);
      if (message.stderr !== undefined) process.stderr.write(message.stderr);
      if (message.test !== undefined && (options.verbose || message.result === 'failed')) {
        process.stdout.write(
          `${message.result} ${message.test} ${message.ms ?? ''}\n${message.message ? `${message.message}\n` : ''}`,
        );
      }
      if (message.end !== undefined) {
        if (message.end.code !== 0) good = false;
        if (command.length > 0) process.exitCode = message.end.code ?? 1;
        process.stderr.write(`${kernel.release}: ${message.job}: ${JSON.stringify(message.end)}\n`);
      }
    },
  });
  rmSync(initrd);
  if (!outcome.done)
    process.stderr.write(`${kernel.release}: the machine ended early\n${outcome.console.slice(-4000)}\n`);
  process.stderr.write(`${kernel.release}: ${(outcome.ms / 1000).toFixed(1)} s\n`);
  return good && outcome.done;
}

async function main() {
  if (options.help) return void process.stdout.write(USAGE);
  if (options.list) return void process.stdout.write(`${availableKernels().join('\n')}\n`);
  const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-vm-'));
  try {
    const kernels = (options.kernel ?? KERNELS).map((name) => getKernel(name, options));
    const parts = prepareImage(folder);
    for (const kernel of kernels) {
      if (!(await runOn(kernel, parts, folder))) process.exitCode ||= 1;
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
