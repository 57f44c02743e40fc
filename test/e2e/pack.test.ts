/** The package as its users get it: packed, installed into an empty folder, run, imported and type-checked there. */
import { execFile } from 'node:child_process';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { testWhere } from '../support/needs.js';
import { freshEnvironment } from '../support/nodes.mjs';

const execute = promisify(execFile);

const ROOT = join(import.meta.dirname, '../..');
const TIMEOUT_MS = 600_000;
const MOST_UNPACKED_BYTES = 3_400_000;
const MOST_PACKED_BYTES = 1_000_000;

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly files: readonly string[];
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
}

/** What `npm pack --json` says of a package. */
interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string; readonly size: number; readonly mode: number }[];
}

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as Manifest;
/** 'pagemap-scan', 'pagemap-scan/abi' and so on: what can be imported. */
const specifiers = Object.keys(manifest.exports)
  .filter((path) => path !== './package.json')
  .map((path) => join(manifest.name, path));

const folder = mkdtempSync(join(tmpdir(), 'pagemap-scan-pack-'));
const consumer = join(folder, 'consumer');

interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
}

async function run(cwd: string, program: string, ...args: string[]): Promise<Outcome> {
  try {
    return await execute(program, args, { cwd, env: freshEnvironment(), maxBuffer: 2 ** 26 });
  } catch (error) {
    const { stdout, stderr } = error as Outcome;
    throw new Error(`${program} ${args.join(' ')}\n${stdout}\n${stderr}`, { cause: error });
  }
}

/** Runs the installed command; `--no`: a package of that name is never fetched instead. */
function npxPmscan(...args: string[]): Promise<Outcome> {
  return run(consumer, 'npx', '--no', '--', 'pmscan', ...args);
}

/** npm's and Node's codes for packages that cannot be fetched: no network, and they were not fetched before. */
const OFFLINE =
  /\b(ENOTCACHED|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|ECONNRESET|ENETUNREACH|ETIMEDOUT|ERR_SOCKET_TIMEOUT)\b/;

let packed: Packed;
/** Why the package is not installed, where it cannot be. */
let notInstalled: string | undefined;

beforeAll(async () => {
  // Without scripts: `prepare` would build dist/ anew under the feet of the tests that run beside this one.
  const { stdout } = await run(
    ROOT,
    'npm',
    'pack',
    '--ignore-scripts',
    '--json',
    '--pack-destination',
    folder,
  );
  const answer = JSON.parse(stdout) as Packed[] | Readonly<Record<string, Packed>>;
  packed = Object.values(answer)[0]!;
  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), '{ "private": true }\n');
  const tarball = join(folder, packed.filename);
  try {
    await run(consumer, 'npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', tarball);
  } catch (error) {
    const code = OFFLINE.exec((error as Error).message)?.[0];
    if (process.env['CI'] || code === undefined) throw error;
    notInstalled = `the packages that it depends on cannot be fetched (${code})`;
    console.log(`Skipped: ${notInstalled}`);
  }
}, TIMEOUT_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }), TIMEOUT_MS);

function sizeOf(path: string): number {
  const stat = lstatSync(path);
  if (!stat.isDirectory()) return stat.size;
  return readdirSync(path).reduce((sum, entry) => sum + sizeOf(join(path, entry)), 0);
}

/** Packages in a node_modules folder, scoped ones by their full names. */
function packagesIn(modules: string): string[] {
  return readdirSync(modules)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(modules, name)).map((inner) => join(name, inner)) : [name],
    );
}

describe('the tarball', () => {
  test('holds what `files` names, and no tests or sources', () => {
    const always = ['package.json', 'LICENSE', 'README.md'];
    const paths = packed.files.map(({ path }) => path);
    const strangers = paths.filter(
      (path) =>
        !always.includes(path) &&
        !manifest.files.some((name) => path === name || path.startsWith(`${name}/`)),
    );
    expect(strangers).toEqual([]);
    expect(paths.filter((path) => /\.test\.|(^|\/)(test|tests|bench|src|node_modules)\//.test(path))).toEqual(
      [],
    );
    expect(paths.filter((path) => /(?<!\.d)\.ts$|\.tsbuildinfo$/.test(path))).toEqual([]);
    expect(paths).toEqual(expect.arrayContaining(['package.json', 'LICENSE']));
    const assets = ['html', 'css', 'js'].map((kind) => `dist/web/assets/page.${kind}`);
    expect(paths).toEqual(expect.arrayContaining(assets));
    expect(paths.filter((path) => path.startsWith('docs/images/'))).toEqual([]);
  });

  test('has every file that package.json points at', () => {
    const paths = new Set(packed.files.map(({ path }) => path));
    const targets = Object.values(manifest.exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    );
    for (const target of [...targets, ...Object.values(manifest.bin)]) {
      expect(paths).toContain(target.replace(/^\.\//, ''));
    }
    // Each module comes with its types.
    const modules = [...paths].filter(
      // What runs in the browser, and the command, are no modules to be imported.
      (path) => path.endsWith('.js') && /^dist\/(?!cli\/|web\/)/.test(path),
    );
    expect(modules.length).toBeGreaterThan(20);
    expect(modules.filter((path) => !paths.has(path.replace(/\.js$/, '.d.ts')))).toEqual([]);
    for (const path of Object.values(manifest.bin)) {
      const file = packed.files.find((entry) => entry.path === path.replace(/^\.\//, ''));
      expect(file!.mode & 0o111).toBe(0o111);
    }
  });

  test('is small', () => {
    console.log(
      `${packed.filename}: ${packed.size} bytes, unpacked ${packed.unpackedSize} bytes in ${packed.files.length} files`,
    );
    expect(packed.size).toBeLessThan(MOST_PACKED_BYTES);
    expect(packed.unpackedSize).toBeLessThan(MOST_UNPACKED_BYTES);
  });

  test('is what package.json says, to publint and to "are the types wrong"', async () => {
    const tarball = join(folder, packed.filename);
    const modules = join(ROOT, 'node_modules');
    const publint = join(modules, 'publint/src/cli.js');
    // It looks at a tarball's files where they are unpacked.
    await run(folder, 'tar', '-xzf', tarball);
    await run(
      folder,
      process.execPath,
      publint,
      'run',
      join(folder, 'package'),
      '--strict',
      '--pack',
      'false',
    );
    const attw = join(modules, '@arethetypeswrong/cli/dist/index.js');
    await run(folder, process.execPath, attw, tarball, '--profile', 'esm-only');
  });
});

describe('installed', () => {
  beforeEach(({ skip }) => skip(notInstalled !== undefined, notInstalled));

  test('it brings the native module for one platform only', () => {
    const modules = join(consumer, 'node_modules');
    const sizes = new Map(packagesIn(modules).map((name) => [name, sizeOf(join(modules, name))]));
    const listed = [...sizes].map(([name, bytes]) => `${name} ${(bytes / 1e6).toFixed(2)}`).join(', ');
    console.log(`installed: ${(sizeOf(modules) / 1e6).toFixed(2)} MB (${listed})`);
    expect([...sizes.keys()].filter((name) => name.startsWith('@koromix/')).length).toBeLessThanOrEqual(1);
  });

  test('the command says its version', async () => {
    const { stdout } = await npxPmscan('--version');
    expect(stdout.trim()).toBe(manifest.version);
  });

  testWhere('pagemap-scan')('pmscan demo runs', async () => {
    const { stdout, stderr } = await npxPmscan('demo');
    expect(stderr).toBe('');
    expect(stdout).toContain('a counter');
  });

  test('every export can be imported, nothing else', async () => {
    const script = `
      for (const specifier of ${JSON.stringify(specifiers)}) {
        const names = Object.keys(await import(specifier));
        if (names.length === 0) throw new Error(specifier + ' exports nothing');
      }
      const { default: manifest } = await import('${manifest.name}/package.json', { with: { type: 'json' } });
      let code;
      await import('${manifest.name}/dist/index.js').catch((error) => { code = error.code; });
      console.log(JSON.stringify({ version: manifest.version, code }));
    `;
    writeFileSync(join(consumer, 'exports.mjs'), script);
    const { stdout } = await run(consumer, process.execPath, '--no-warnings', 'exports.mjs');
    expect(JSON.parse(stdout)).toEqual({
      version: manifest.version,
      code: 'ERR_PACKAGE_PATH_NOT_EXPORTED',
    });
  });

  test('what needs no kernel works from plain JavaScript', async () => {
    const script = `
      import { strict as assert } from 'node:assert';
      import { categoryNames, RegionBuffer } from '${manifest.name}/abi';
      import { parseMaps } from '${manifest.name}/proc';
      import { compileWhere, regions } from '${manifest.name}/query';

      assert.deepEqual(categoryNames(10), ['written', 'present']);
      const [mapping] = parseMaps(new TextEncoder().encode('1000-3000 rw-p 00000000 00:00 0    [heap]\\n'));
      assert.equal(mapping.name, '[heap]');
      const { categoryInverted, categoryMask, categoryAnyofMask } = compileWhere('present & !file');
      assert.deepEqual([categoryInverted, categoryMask, categoryAnyofMask], [4, 12, 0]);
      // A Pagemap can be anybody's: this one knows a single page.
      const pagemap = {
        scan(_request, output) {
          output.words.set([0x1000, 0, 0x2000, 0, 8, 0]);
          output.length = 1;
          return { regions: 1, walkEnd: 0x3000 };
        },
      };
      const found = [...regions(pagemap, { start: 0x1000, end: 0x3000 }, { buffer: new RegionBuffer(4) })];
      assert.deepEqual(found, [{ start: 0x1000, end: 0x2000, categories: 8 }]);
      console.log('good');
    `;
    writeFileSync(join(consumer, 'pure.mjs'), script);
    expect((await run(consumer, process.execPath, 'pure.mjs')).stdout).toBe('good\n');
  });

  testWhere('pagemap-scan')('the live kernel works from plain JavaScript', async () => {
    const script = `
      import { strict as assert } from 'node:assert';
      import { countPages, openPagemap, PAGE_IS_PRESENT, userSpaceEnd } from '${manifest.name}';
      import { kernelCategories, openPagemap as same, probeCapabilities } from '${manifest.name}/live';

      assert.equal(openPagemap, same);
      assert.ok(kernelCategories() & PAGE_IS_PRESENT);
      assert.ok((await probeCapabilities()).length > 0);
      const pagemap = openPagemap('self');
      const pages = countPages(pagemap, { start: 0, end: userSpaceEnd(), categoryMask: PAGE_IS_PRESENT });
      pagemap[Symbol.dispose]();
      assert.ok(pages > 1000, String(pages));
      console.log('good');
    `;
    writeFileSync(join(consumer, 'live.mjs'), script);
    expect((await run(consumer, process.execPath, 'live.mjs')).stdout).toBe('good\n');
  });

  test(
    'the type declarations resolve in a strict program',
    async () => {
      // Every export is named, so that one whose types are missing is an error (TS7016), and what it exports is not any:
      // an error that is expected and does not come is one, too.
      const lines = [
        ...specifiers.map((specifier, index) => `import * as export${index} from '${specifier}';`),
        `import { countPages, openPagemap, type Pagemap, type Region, regions } from '${manifest.name}';`,
        `import { categoryNames, type CategoryName } from '${manifest.name}/abi';`,
        `import { type Mapping, parseMaps } from '${manifest.name}/proc';`,
        `import { compileWhere, type WhereMasks } from '${manifest.name}/query';`,
        `import { type LivePagemap, openPagemap as open } from '${manifest.name}/live';`,
        `export const all: object[] = [${specifiers.map((_, index) => `export${index}`).join(', ')}];`,
        'export const names: CategoryName[] = categoryNames(10);',
        'export const masks: WhereMasks = compileWhere(names.join());',
        'export const mappings: Mapping[] = parseMaps(new Uint8Array());',
        'export const live: LivePagemap = open(1);',
        'export const pagemap: Pagemap = live;',
        'export const found: Region[] = [...regions(pagemap, { start: 0, end: 4096, ...masks })];',
        'export const pages: number = countPages(pagemap, { start: 0, end: 4096 });',
        '// @ts-expect-error',
        "openPagemap('everything');",
        '// @ts-expect-error',
        'export const wrong: string = categoryNames(1);',
      ];
      writeFileSync(join(consumer, 'consumer.mts'), `${lines.join('\n')}\n`);
      const require = createRequire(import.meta.url);
      const options = {
        target: 'es2022',
        module: 'nodenext',
        moduleResolution: 'nodenext',
        strict: true,
        exactOptionalPropertyTypes: true,
        // The declarations themselves are checked as well.
        skipLibCheck: false,
        noEmit: true,
        types: ['node'],
        typeRoots: [join(dirname(require.resolve('@types/node/package.json')), '..')],
      };
      writeFileSync(
        join(consumer, 'tsconfig.json'),
        JSON.stringify({ compilerOptions: options, files: ['consumer.mts'] }),
      );
      const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin/tsc');
      await run(consumer, process.execPath, tsc, '-p', consumer);
    },
    TIMEOUT_MS,
  );
});
