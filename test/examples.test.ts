/** Every example in the docstrings and in the documentation is compiled, strictly, and run. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { testWhere } from './support/needs.js';

const ROOT = join(import.meta.dirname, '..');
const FOLDER = join(ROOT, '.build/examples');
const RUNNER = join(import.meta.dirname, 'support/run-examples.mjs');

interface Example {
  readonly where: string;
  readonly file: string;
  readonly code: string;
}

/** The ```ts blocks of a file; in a docstring each line begins with an asterisk. */
function examplesOf(path: string): Example[] {
  const where = relative(ROOT, path);
  const text = path.endsWith('.ts')
    ? readFileSync(path, 'utf8').replace(/^ *\* ?/gm, '')
    : readFileSync(path, 'utf8');
  return [...text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match, index) => ({
    where: `${where} #${index + 1}`,
    file: `${where.replace(/[^\w]/g, '_')}_${index + 1}`,
    code: match[1]!,
  }));
}

function files(folder: string, ending: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending) && !path.endsWith('.test.ts'))
    .map((path) => join(folder, path))
    .sort();
}

/** Made of the docstrings: its examples are those of src, and its other blocks are signatures. */
const REFERENCE = join(ROOT, 'docs/api/');

const examples = [
  ...files(join(ROOT, 'src'), '.ts'),
  ...files(join(ROOT, 'docs'), '.md').filter((path) => !path.startsWith(REFERENCE)),
  join(ROOT, 'README.md'),
].flatMap(examplesOf);

describe('examples', () => {
  let compilerOutput = '';
  beforeAll(() => {
    rmSync(FOLDER, { recursive: true, force: true });
    mkdirSync(FOLDER, { recursive: true });
    for (const { file, code } of examples)
      writeFileSync(join(FOLDER, `${file}.mts`), `${code}\nexport {};\n`);
    const options = { extends: '../../tsconfig.json', include: ['*.mts'] };
    const compilerOptions = {
      noEmit: false,
      rootDir: '.',
      outDir: 'out',
      declaration: false,
      sourceMap: false,
    };
    writeFileSync(join(FOLDER, 'tsconfig.json'), JSON.stringify({ ...options, compilerOptions }));
    const typescript = dirname(createRequire(import.meta.url).resolve('typescript/package.json'));
    compilerOutput = spawnSync(process.execPath, [join(typescript, 'bin/tsc'), '-p', FOLDER], {
      encoding: 'utf8',
    }).stdout;
  });

  test('there are some, and all compile', () => {
    expect(compilerOutput).toBe('');
    expect(examples.length).toBeGreaterThan(20);
  });

  const out = (file: string) => join(FOLDER, 'out', `${file}.mjs`);
  let outcomes: Promise<Map<string, object>> | undefined;

  /** Of all examples, by their modules: one process runs them, since to start Node takes longer than most of them do. */
  async function runAll(): Promise<Map<string, object>> {
    const child = spawn(process.execPath, [RUNNER, ...examples.map(({ file }) => out(file))], {
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    });
    const found = new Map<string, object>();
    for await (const line of createInterface({ input: child.stdio[3] as Readable })) {
      const { module, ...outcome } = JSON.parse(line);
      found.set(module, outcome);
    }
    return found;
  }

  testWhere('pagemap-scan', 'wp-async').each(examples)('$where runs', async ({ file }) => {
    outcomes ??= runAll();
    // console.assert does not throw: it complains on standard error.
    expect((await outcomes).get(out(file))).toEqual({ errors: '', left: [], exitCode: 0 });
  });
});
