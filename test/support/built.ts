/**
 * Tests name the library's modules by their sources, `../src/abi/index.js`. In a run they get the modules that were built of these, which
 * are what users run, and fast: vitest puts a getter before every use of an import, which takes a third of the time of some tests.
 *
 * The command's modules and the page's are bundled, so that dist/ has none of them: these come from the sources, and take the rest of the
 * library from dist/, too. Where dist/ is missing or older than the sources, and while vitest watches these, all comes from the sources.
 */
import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, resolve, sep } from 'node:path';
import type { Plugin } from 'vitest/config';

const ROOT = resolve(import.meta.dirname, '../..');
const SRC = join(ROOT, 'src') + sep;
const DIST = join(ROOT, 'dist') + sep;
/** In dist/, these are other things than their modules. */
const BUNDLED = /^(cli|playground|web\/page)\/|^live\/attacher\.js$/;
const NOT_BUILT = /\.test\.ts$|^playground\/|^web\/page\//;

/** What vitest leaves to Node. */
const BUILT = new RegExp(`^(file://)?${DIST.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}`);

function isCurrent(): boolean {
  const built = statSync(join(DIST, 'index.js'), { throwIfNoEntry: false });
  if (built === undefined) return false;
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' }).every(
    (name) =>
      !name.endsWith('.ts') || NOT_BUILT.test(name) || statSync(join(SRC, name)).mtimeMs <= built.mtimeMs,
  );
}

export function built(): Plugin {
  let isUsed = false;
  return {
    name: 'pagemap-scan:built',
    enforce: 'pre',
    config: () => ({ test: { server: { deps: { external: [BUILT] } } } }),
    configureVitest({ vitest }) {
      isUsed = !vitest.config.watch && isCurrent();
    },
    resolveId(source, importer) {
      if (!isUsed || importer === undefined || !/^\.\.?\/.*\.js$/.test(source)) return undefined;
      const path = resolve(dirname(importer), source);
      if (!path.startsWith(SRC)) return undefined;
      const name = path.slice(SRC.length);
      const module = DIST + name;
      return !BUNDLED.test(name) && existsSync(module) ? module : undefined;
    },
  };
}
