// Tests the single executable in Debian's own bases, where nothing else is installed:
//   npm run test:roots              all of them
//   npm run test:roots -- bullseye  one
// It takes root and debootstrap. The bases are kept in ~/.cache/pagemap-scan (or PMSCAN_CACHE).
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Debian 11, whose C library is the oldest one that is looked at (2.31), and Debian 12. */
const SUITES = ['bullseye', 'bookworm'];

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const cache = process.env.PMSCAN_CACHE ?? join(homedir(), '.cache', 'pagemap-scan');

/** The archive that this system itself uses. */
function archive() {
  const format = ['indextargets', '--format', '$(REPO_URI)', 'Origin: Debian', 'Component: main'];
  const uris = execFileSync('apt-get', format, { encoding: 'utf8' }).split('\n');
  const uri = uris.find((each) => /\/debian\/?$/.test(each));
  if (uri === undefined) throw new Error('Cannot make a base of Debian: apt knows no archive of it');
  return uri;
}

/** What cannot be found or done here, as a sentence; the program then ends. */
function fail(message) {
  console.error(message);
  process.exit(1);
}

function base(suite) {
  const folder = join(cache, `root-${suite}`);
  if (existsSync(folder)) return folder;
  // Beside its place, then moved there: one that was interrupted is never taken for a whole one.
  const fresh = `${folder}.${process.pid}`;
  mkdirSync(cache, { recursive: true });
  if (process.geteuid() !== 0) fail('Cannot make a base of Debian: it takes root');
  try {
    execFileSync('debootstrap', ['--variant=minbase', suite, fresh, archive()], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    renameSync(fresh, folder);
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    fail('Cannot make a base of Debian: debootstrap is not installed; apt-get install debootstrap');
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  return folder;
}

const wanted = process.argv.slice(2);
const roots = (wanted.length === 0 ? SUITES : wanted).map(base);
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const { status } = spawnSync(process.execPath, [vitest, 'run', 'test/e2e/executable.test.ts'], {
  cwd: root,
  env: { ...process.env, PMSCAN_TEST_ROOTS: roots.join(delimiter) },
  stdio: 'inherit',
});
process.exitCode = status ?? 1;
