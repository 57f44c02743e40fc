/**
 * Writes the library's reference, docs/api, from the declarations in dist. With --check it only says whether that is current: exit code 1
 * when it is not, 3 when its tools are missing and cannot be installed.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freshEnvironment } from '../../test/support/nodes.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const REFERENCE = fileURLToPath(new URL('../../docs/api', import.meta.url));
const TYPEDOC = join(HERE, 'node_modules/typedoc/bin/typedoc');

function run(command, ...args) {
  execFileSync(command, args, { cwd: HERE, env: freshEnvironment(), stdio: ['ignore', 'ignore', 'inherit'] });
}

function write(folder) {
  run(
    process.execPath,
    TYPEDOC,
    '--options',
    join(HERE, 'typedoc.mjs'),
    '--logLevel',
    'Warn',
    '--out',
    folder,
  );
}

/** The files of a folder by name, with their text. */
function textsOf(folder) {
  if (!existsSync(folder)) return new Map();
  const names = readdirSync(folder, { recursive: true }).filter((name) =>
    statSync(join(folder, name)).isFile(),
  );
  return new Map(names.sort().map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

// Of its own lock: apart from the project's packages.
const installed = join(HERE, 'node_modules/.package-lock.json');
const isCurrent =
  existsSync(installed) && statSync(installed).mtimeMs >= statSync(join(HERE, 'package-lock.json')).mtimeMs;
if (!isCurrent) {
  try {
    run('npm', 'ci', '--no-audit', '--no-fund');
  } catch {
    console.error('Cannot write the reference: its tools cannot be installed; look at what npm says');
    process.exit(3);
  }
}
if (process.argv.includes('--check')) {
  const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-reference-'));
  try {
    write(folder);
    const [wanted, found] = [textsOf(folder), textsOf(REFERENCE)];
    const names = new Set([...wanted.keys(), ...found.keys()]);
    const stale = [...names].filter((name) => wanted.get(name) !== found.get(name));
    for (const name of stale) console.log(`docs/api/${name} is not what the sources say: npm run docs`);
    process.exitCode = stale.length > 0 ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true });
  }
} else {
  rmSync(REFERENCE, { recursive: true, force: true });
  write(REFERENCE);
}
