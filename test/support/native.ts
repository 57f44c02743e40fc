/** C programs of test/native, compiled when a test wants them. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';

const SOURCES = join(import.meta.dirname, '../native');
/** Headers of a newer kernel than the system's own, as a folder for the compiler's -I. */
const HEADERS = process.env['PMSCAN_KERNEL_HEADERS'];

const BUILD = join(import.meta.dirname, '../../.build', HEADERS === undefined ? '' : 'newer-headers');

/** True where there is a C compiler. */
export function hasCompiler(): boolean {
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Path of the compiled program `name`; compiled anew when its source is newer. */
export function nativeProgram(name: string, flags: readonly string[] = []): string {
  const source = join(SOURCES, `${name}.c`);
  const program = join(BUILD, name);
  mkdirSync(BUILD, { recursive: true });
  const built = statSync(program, { throwIfNoEntry: false });
  if (built === undefined || built.mtimeMs <= statSync(source).mtimeMs) {
    const include = HEADERS === undefined ? [] : ['-isystem', HEADERS];
    // Several test files may want the same program at once: each makes its own, the last one stays.
    const mine = `${program}.${process.pid}`;
    execFileSync('cc', ['-O2', '-Wall', '-Werror', ...include, ...flags, '-o', mine, source]);
    renameSync(mine, program);
  }
  return program;
}
