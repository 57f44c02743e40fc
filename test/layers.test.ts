/**
 * The layer rule: an import goes only downward. Read from the sources with TypeScript's own notion of what an import
 * is left out: every `from '…'`, `import '…'` and `import('…')` counts, types included.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { describe, expect, test } from 'vitest';

const SOURCE = resolve(import.meta.dirname, '../src');

/** Optional, and loaded only when metrics are asked for. */
const OPEN_TELEMETRY = [
  'api',
  'sdk-metrics',
  'resources',
  'exporter-prometheus',
  'exporter-metrics-otlp-proto',
].map((name) => `@opentelemetry/${name}`);

/** What each layer may import, besides itself. `node` stands for Node's own modules. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  abi: [],
  parts: ['node', 'koffi'],
  engine: ['abi'],
  x86: [],
  sim: ['engine', 'x86', 'abi'],
  proc: ['abi'],
  live: ['engine', 'proc', 'parts', 'abi', 'node'],
  query: ['proc', 'abi'],
  track: ['query', 'live', 'proc', 'abi', 'node'],
  owners: ['model', 'live', 'query', 'proc', 'node'],
  elf: [],
  core: ['track', 'live', 'query', 'proc', 'elf', 'abi', 'node'],
  snapshot: ['core', 'live', 'query', 'engine', 'proc', 'abi', 'node'],
  scenario: ['sim', 'live', 'parts', 'abi', 'node'],
  // What pictures show, as data.
  model: ['query', 'proc'],
  record: [
    'model',
    'track',
    'owners',
    'live',
    'query',
    'proc',
    'abi',
    'node',
    'hyparquet',
    'hyparquet-writer',
  ],
  metrics: ['model', 'query', 'abi', 'node', ...OPEN_TELEMETRY],
  web: [
    'model',
    'record',
    'metrics',
    'owners',
    'snapshot',
    'track',
    'live',
    'query',
    'proc',
    'parts',
    'abi',
    'node',
  ],
  // Runs in browsers.
  'web/page': ['model', 'query', 'abi'],
  // Runs in browsers, too.
  playground: ['web/page', 'scenario', 'sim', 'query', 'abi'],
  cli: ['*'],
  // The package's root: gathers what the layers export.
  '': ['*'],
};

function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const found = code.matchAll(
    /\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]|\bcreateRequire\([^)]*\)\(\s*['"]([^'"]+)['"]/g,
  );
  return [...found].map((match) => match[1] ?? match[2]!);
}

/** The layer of a file, by its path in src/. */
function layerAt(path: string): string {
  const parts = path.split(sep);
  if (parts[0] === 'web' && parts[1] === 'page') return 'web/page';
  return parts.length > 1 ? parts[0]! : '';
}

/** The layer that `specifier`, imported by `file`, belongs to; npm packages are named by themselves. */
function layerOf(specifier: string, file: string): string {
  if (specifier.startsWith('node:')) return 'node';
  if (!specifier.startsWith('.')) return specifier;
  return layerAt(relative(SOURCE, resolve(dirname(file), specifier)));
}

/** Imports of other files in src/, as paths there. */
function importedFiles(path: string, text: string): string[] {
  return importsOf(text)
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => relative(SOURCE, resolve(SOURCE, dirname(path), specifier)).replace(/\.js$/, '.ts'));
}

/** A way from `from` back to itself, as paths, or undefined. */
function circle(from: string, imports: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const before = new Map<string, string>();
  const queue = [from];
  for (const at of queue) {
    for (const next of imports.get(at) ?? []) {
      if (next === from) {
        const way = [at];
        while (way[0] !== from) way.unshift(before.get(way[0]!)!);
        return [...way, from];
      }
      if (before.has(next)) continue;
      before.set(next, at);
      queue.push(next);
    }
  }
  return undefined;
}

/** Layers that users can import, by package.json. */
const EXPORTED: readonly string[] = Object.keys(
  (JSON.parse(readFileSync(join(SOURCE, '../package.json'), 'utf8')) as { exports: Record<string, unknown> })
    .exports,
).map((key) => key.replace(/^\.\/?/, ''));

/** Doors that an import goes past: another layer is entered by its index.ts, or by its internal.ts where there is one. */
function passedDoors(file: string, text: string): string[] {
  const path = relative(SOURCE, file);
  return importedFiles(path, text)
    .filter(
      (target) => layerAt(target) !== layerAt(path) && !/^[a-z0-9/]+\/(index|internal)\.ts$/.test(target),
    )
    .map((target) => `${path}: ${target} is for src/${layerAt(target)} alone`);
}

function violations(file: string, text: string): string[] {
  const path = relative(SOURCE, file);
  const layer = layerAt(path);
  const allowed = MAY_IMPORT[layer];
  if (allowed === undefined)
    return [`${path}: src/${layer} is not a known layer; add it to this test's table`];
  if (allowed.includes('*')) {
    return importsOf(text).includes('koffi') ? [`${path}: only src/parts may import koffi`] : [];
  }
  return importsOf(text)
    .map((specifier) => [specifier, layerOf(specifier, file)] as const)
    .filter(([, target]) => target !== layer && !allowed.includes(target))
    .map(([specifier]) => `${path}: src/${layer} may not import ${specifier}`);
}

function sources(): string[] {
  return readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && !path.endsWith('.test.ts'))
    .map((path) => join(SOURCE, path));
}

describe('layers', () => {
  test('every import goes downward', () => {
    const files = sources();
    expect(files.length).toBeGreaterThan(20);
    expect(files.flatMap((file) => violations(file, readFileSync(file, 'utf8')))).toEqual([]);
  });

  const files = new Map(sources().map((file) => [relative(SOURCE, file), readFileSync(file, 'utf8')]));

  test('no file imports itself by way of others, types included', () => {
    const imports = new Map([...files].map(([path, text]) => [path, importedFiles(path, text)]));
    const circles = [...files.keys()].map((path) => circle(path, imports)?.join(' → '));
    expect(circles.filter((found) => found !== undefined)).toEqual([]);
    expect(
      circle(
        'a',
        new Map([
          ['a', ['b']],
          ['b', ['c']],
          ['c', ['b', 'a']],
        ]),
      ),
    ).toEqual(['a', 'b', 'c', 'a']);
  });

  test('a layer is entered by its doors: index.ts for all, internal.ts for other layers', () => {
    expect([...files].flatMap(([path, text]) => passedDoors(join(SOURCE, path), text))).toEqual([]);
    // What is public is made of what is public.
    const publicDoors = EXPORTED.flatMap((name) =>
      [...files.keys()].filter((path) => path === join(name, 'index.ts')),
    );
    expect(publicDoors.length).toBeGreaterThan(10);
    const beyond = publicDoors.filter((path) =>
      importedFiles(path, files.get(path)!).some((target) => target.endsWith('internal.ts')),
    );
    expect(beyond).toEqual([]);
    // A layer that nobody can import from outside needs no second door.
    const needless = [...files.keys()].filter(
      (path) => path.endsWith('/internal.ts') && !EXPORTED.includes(layerAt(path)),
    );
    expect(needless).toEqual([]);
    expect(
      passedDoors(join(SOURCE, 'track/x.ts'), "import { sleep } from '../live/ptrace.js';"),
    ).toHaveLength(1);
    expect(passedDoors(join(SOURCE, 'track/x.ts'), "import { sleep } from '../live/internal.js';")).toEqual(
      [],
    );
  });

  test('the table has no circle, and allows nothing that nobody uses', () => {
    expect(
      Object.keys(MAY_IMPORT).map((layer) => circle(layer, new Map(Object.entries(MAY_IMPORT)))),
    ).toEqual(Object.keys(MAY_IMPORT).map(() => undefined));
    const unused = Object.entries(MAY_IMPORT).flatMap(([layer, allowed]) => {
      const used = [...files]
        .filter(([path]) => layerAt(path) === layer)
        .flatMap(([path, text]) =>
          importsOf(text).map((specifier) => layerOf(specifier, join(SOURCE, path))),
        );
      return allowed
        .filter((name) => name !== '*' && !used.includes(name))
        .map((name) => `${layer}: ${name}`);
    });
    expect(unused).toEqual([]);
  });

  test('ARCHITECTURE.md has the same table', () => {
    const text = readFileSync(join(SOURCE, '../ARCHITECTURE.md'), 'utf8');
    const table = Object.fromEntries(
      [...text.matchAll(/^\| `src\/([a-z0-9/]+)\/` \|.*\| ([^|]*) \|$/gm)].map(([, layer, allowed]) => [
        layer,
        allowed,
      ]),
    );
    const expected = Object.entries(MAY_IMPORT)
      .filter(([layer]) => layer !== '')
      .map(([layer, allowed]) => {
        const layers = allowed.filter((name) => name in MAY_IMPORT);
        return [layer, allowed.includes('*') ? 'all' : layers.length === 0 ? '–' : layers.join(', ')];
      });
    expect(table).toEqual(Object.fromEntries(expected));
  });

  test('the rule would notice', () => {
    const at = (path: string, text: string) => violations(join(SOURCE, path), text);
    expect(at('abi/x.ts', "import { readFileSync } from 'node:fs';")).toHaveLength(1);
    expect(at('abi/x.ts', "import type { Mapping } from '../proc/index.js';")).toHaveLength(1);
    expect(at('query/x.ts', "export * from '../live/index.js';")).toHaveLength(1);
    expect(at('query/x.ts', "const live = await import('../live/index.js');")).toHaveLength(1);
    expect(at('cli/x.ts', "import koffi from 'koffi';")).toHaveLength(1);
    expect(at('proc/x.ts', "createRequire(import.meta.url)('koffi')")).toHaveLength(1);
    expect(at('newcomer/x.ts', '')).toHaveLength(1);
    expect(at('web/page/x.ts', "import { createServer } from 'node:http';")).toHaveLength(1);
    expect(at('web/page/x.ts', "import { Session } from '../session.js';")).toHaveLength(1);
    expect(at('web/page/x.ts', "import { PAGE_KINDS } from '../../model/index.js';")).toEqual([]);
    expect(at('live/x.ts', "import { parseMaps } from '../proc/index.js';")).toEqual([]);
  });
});
