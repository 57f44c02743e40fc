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
  engine: ['x86', 'abi'],
  x86: ['abi'],
  sim: ['engine', 'x86', 'abi'],
  proc: ['abi'],
  live: ['engine', 'proc', 'abi', 'node', 'koffi'],
  query: ['abi'],
  track: ['query', 'live', 'proc', 'abi', 'node'],
  elf: [],
  core: ['track', 'live', 'query', 'proc', 'elf', 'abi', 'node'],
  scenario: ['sim', 'live', 'proc', 'abi', 'node'],
  record: ['web/model', 'track', 'live', 'query', 'proc', 'abi', 'node', 'hyparquet', 'hyparquet-writer'],
  metrics: ['web/model', 'query', 'abi', 'node', ...OPEN_TELEMETRY],
  web: ['web/model', 'record', 'metrics', 'track', 'live', 'query', 'proc', 'abi', 'node'],
  // Runs in browsers.
  'web/page': ['web/model', 'query', 'abi'],
  // What the page shows, as data: recordings are turned into it, too.
  'web/model': ['query'],
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
  if (parts[0] === 'web' && /^model\.[jt]s$/.test(parts[1] ?? '')) return 'web/model';
  return parts.length > 1 ? parts[0]! : '';
}

/** The layer that `specifier`, imported by `file`, belongs to; npm packages are named by themselves. */
function layerOf(specifier: string, file: string): string {
  if (specifier.startsWith('node:')) return 'node';
  if (!specifier.startsWith('.')) return specifier;
  return layerAt(relative(SOURCE, resolve(dirname(file), specifier)));
}

function violations(file: string, text: string): string[] {
  const path = relative(SOURCE, file);
  const layer = layerAt(path);
  const allowed = MAY_IMPORT[layer];
  if (allowed === undefined)
    return [`${path}: src/${layer} is not a known layer; add it to this test's table`];
  if (allowed.includes('*')) {
    return importsOf(text).includes('koffi') ? [`${path}: only src/live may import koffi`] : [];
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
    expect(at('web/page/x.ts', "import { KINDS } from '../model.js';")).toEqual([]);
    expect(at('live/x.ts', "import { parseMaps } from '../proc/index.js';")).toEqual([]);
  });
});
