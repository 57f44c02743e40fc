/**
 * Benches, soaks, scripts and the programs of tests are JavaScript, which no compiler looks at: what they import from the package has to be
 * there, or one learns of a renamed function when the bench is run the next time.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const FOLDERS = ['bench', 'examples', 'scripts', 'test'];

const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { default: string } | string>;
};

/** The file that a module's import is of; undefined for those of other packages and of the folder itself. */
function fileOf(from: string, specifier: string): string | undefined {
  if (specifier.startsWith('.')) {
    const path = join(dirname(from), specifier);
    return relative(ROOT, path).startsWith('dist') ? path : undefined;
  }
  if (!/^pagemap-scan(\/|$)/.test(specifier)) return undefined;
  const entry = exports[`.${specifier.slice('pagemap-scan'.length)}`];
  return typeof entry === 'object'
    ? join(ROOT, entry.default)
    : `${specifier}, which package.json does not export`;
}

const files = FOLDERS.flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.mjs') && !name.includes('node_modules'))
    .map((name) => join(ROOT, folder, name)),
);

/** What modules export. Asked of a process of its own: some look at the kernel as soon as they are loaded, and keep what they opened. */
function namesOf(paths: readonly string[]): Map<string, readonly string[]> {
  const program = `const names = {};
    for (const path of ${JSON.stringify(paths)}) names[path] = Object.keys(await import(path).catch(() => ({})));
    console.log(JSON.stringify(names));
    process.exit();`;
  const text = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' });
  return new Map(Object.entries(JSON.parse(text) as Record<string, string[]>));
}

test('what scripts import of the package is there', () => {
  const wanted = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/^import \{([^}]*)\} from '([^']+)';/gm)].flatMap(
      ([, names, specifier]) => {
        const path = fileOf(file, specifier!);
        const list = names!.split(',').map((part) => part.trim().split(' as ')[0]!);
        return path === undefined
          ? []
          : list.filter((name) => name !== '').map((name) => ({ file, path, name }));
      },
    ),
  );
  const known = namesOf([...new Set(wanted.map(({ path }) => path))]);
  const missing = wanted.filter(({ path, name }) => !known.get(path)?.includes(name));
  expect(missing).toEqual([]);
  expect(wanted.length).toBeGreaterThan(50);
});

function fuzz(...options: string[]) {
  const args = [join(ROOT, 'scripts/fuzz.mjs'), ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

test('fuzzing says what its options are', () => {
  const { status, stdout, stderr } = fuzz('--help');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const source = readFileSync(join(ROOT, 'scripts/fuzz.mjs'), 'utf8');
  const names = [...source.matchAll(/^ +(\w+): \{ type: '(?:string|boolean)'/gm)].map(([, name]) => name!);
  expect(names).toContain('seed');
  for (const name of names.filter((known) => known !== 'help')) expect(stdout).toContain(`\n  --${name} `);
});

test.each([
  [['--bogus'], "Unknown option '--bogus'"],
  [['--kind', 'x'], 'There is no kind x, only anon, '],
  [['--profile', 'toString'], 'There is no profile toString, only 6.7, '],
  [['--minutes', 'x'], '--minutes takes a number, not x'],
  [['--profile', '7.3', '--set', 'x=1'], 'There is no property x=1, only '],
  [['--profile', '7.3', '--set', 'hasZeroPage=x'], 'x is no value of hasZeroPage'],
])('fuzzing refuses %j in a line', (options, problem) => {
  const { status, stdout, stderr } = fuzz(...options);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr.startsWith(problem)).toBe(true);
  expect(stderr.trimEnd().split('\n')).toHaveLength(1);
});
