/**
 * What the package brings beside its modules: programs that it starts, files that it reads, native code. Only this file knows
 * where they are. The single executable (`scripts/executable/`) has a file of its own in the place of this one.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** A program of this package, by its module. */
export type ProgramName =
  | 'live/attacher'
  | 'live/idle'
  | 'scenario/kernel-process'
  | 'cli/sample'
  | 'cli/traceable';

/** The package's folder, seen from `src/parts` and from `dist/parts`. */
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** What `process.execPath` is to be given to become this program. Run from the sources (as tests do), the built one is it. */
export function programArgument(name: ProgramName): string {
  const beside = fileURLToPath(new URL(`../${name}.js`, import.meta.url));
  return existsSync(beside) ? beside : `${ROOT}dist/${name}.js`;
}

/**
 * A file of the package, by its path there.
 *
 * @throws Error when the package was not built
 */
export function readPart(path: 'package.json' | `dist/${'web/assets' | 'man'}/${string}`): string {
  return readFileSync(ROOT + path, 'utf8');
}

/** What the program is made of, for `--version`; undefined where it is Node and a package. */
export function madeOf(): string | undefined {
  return undefined;
}

/** @throws Error where koffi has no binary */
export function loadKoffi(): typeof import('koffi').default {
  return createRequire(import.meta.url)('koffi');
}
