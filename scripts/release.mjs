// All that a release needs, short of publishing. Every step is run, whatever the others gave.
//   npm run release:check              takes an hour, root, and the machine that .ci/prepare makes
//   npm run release:check -- --quick   without the tests: what can be wrong with the package itself
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const MOST_BYTES = 1_000_000;
const quick = process.argv.includes('--quick');
const read = (path) => readFileSync(join(root, path), 'utf8');
const { version } = JSON.parse(read('package.json'));

/** Runs a program to its end, its output with ours. */
function run(program, ...args) {
  const { status, error } = spawnSync(program, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw error ?? new Error(`${program} ${args.join(' ')} gave ${status}`);
}

const output = (program, ...args) =>
  execFileSync(program, args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });

/**
 * What is wrong with the changelog for a release of this version, if anything.
 *
 * @param {string} text
 * @param {string} version
 */
export function changelogProblem(text, version) {
  const sections = text.split(/^## /m).slice(1);
  const head = sections.map((section) => section.slice(0, section.indexOf('\n')));
  const pattern = new RegExp(`^\\[${version.replaceAll('.', '\\.')}\\] - \\d{4}-\\d{2}-\\d{2}$`);
  const unreleased = sections.find((section) => section.startsWith('[Unreleased]'));
  if (unreleased !== undefined && /^- /m.test(unreleased)) return 'it has changes that are unreleased';
  return head.some((line) => pattern.test(line)) ? undefined : `it has no "## [${version}] - DATE"`;
}

const STEPS = {
  'nothing is uncommitted': () => {
    const changes = output('git', 'status', '--porcelain');
    if (changes !== '') throw new Error(`git knows of changes:\n${changes}`);
  },
  'the changelog speaks of this version': () => {
    const problem = changelogProblem(read('CHANGELOG.md'), version);
    if (problem !== undefined) throw new Error(`CHANGELOG.md is not ready: ${problem}`);
  },
  'the version is not published, nor tagged': () => {
    if (output('git', 'tag', '--list', `v${version}`) !== '') throw new Error(`There is a tag v${version}`);
    const { stdout } = spawnSync('npm', ['view', `pagemap-scan@${version}`, 'version'], { encoding: 'utf8' });
    if (stdout.trim() === version) throw new Error(`pagemap-scan ${version} is published already`);
  },
  'checks and tests': quick ? undefined : () => run('npm', 'test'),
  'as others find it': quick ? undefined : () => run('npm', 'run', 'test:everyone', '--', '--smoke'),
  'other kernels': quick ? undefined : () => run('npm', 'run', 'test:vm'),
  'the executable in Debian 11 and 12': quick ? undefined : () => run('npm', 'run', 'test:roots'),
  'the executable': () => {
    run('npm', 'run', '--silent', 'build:executable');
    const bytes = readFileSync(join(root, 'build/pmscan'));
    console.log(`sha256 ${createHash('sha256').update(bytes).digest('hex')}`);
  },
  'the executable for arm64': () => {
    run('npm', 'run', '--silent', 'build:executable', '--', '--arch', 'arm64');
    const program = join(root, 'build/pmscan-arm64');
    console.log(`sha256 ${createHash('sha256').update(readFileSync(program)).digest('hex')}`);
    if (quick) return;
    const guest = ['test/vm/main.mjs', '--kernel', '6.12-arm64', '--with', program];
    run(process.execPath, ...guest, '--', 'sh', '-ec', `${program} --version; ${program} demo`);
  },
  'the package is small': () => {
    const answer = JSON.parse(output('npm', 'pack', '--dry-run', '--json', '--ignore-scripts'));
    const { size, unpackedSize, files } = Object.values(answer)[0];
    const folders = new Map();
    for (const { path, size } of files) {
      const folder = path.split('/').slice(0, -1).slice(0, 2).join('/') || '.';
      folders.set(folder, (folders.get(folder) ?? 0) + size);
    }
    for (const [folder, bytes] of folders) console.log(`${String(bytes).padStart(9)}  ${folder}`);
    console.log(`${size} bytes packed, ${unpackedSize} unpacked, ${files.length} files`);
    if (size > MOST_BYTES)
      throw new Error(`The package has ${size} bytes; at most ${MOST_BYTES} are allowed`);
  },
  'npm would publish it': () => run('npm', 'publish', '--dry-run', '--ignore-scripts', '--loglevel', 'warn'),
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const results = Object.entries(STEPS).map(([name, step]) => {
    if (step === undefined) return `skipped  ${name}`;
    console.log(`\n— ${name}`);
    try {
      step();
      return `good     ${name}`;
    } catch (error) {
      process.exitCode = 1;
      console.error(error.message);
      return `failed   ${name}: ${error.message.split('\n')[0]}`;
    }
  });
  console.log(`\n${results.join('\n')}`);
}
