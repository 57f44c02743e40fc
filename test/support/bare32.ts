/** A program for 32-bit processors: without the C library, which is not there for them everywhere. */
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** Its path; undefined where it cannot be compiled or run. */
export function bare32(): string | undefined {
  const build = join(import.meta.dirname, '../../.build');
  mkdirSync(build, { recursive: true });
  const program = join(build, 'bare32');
  const flags = ['-m32', '-O2', '-nostdlib', '-static', '-fno-pie', '-no-pie', '-fno-stack-protector'];
  try {
    execFileSync('cc', [...flags, '-o', program, join(import.meta.dirname, '../native/bare32.c')], {
      stdio: 'ignore',
    });
    execFileSync(program, { input: '', stdio: ['pipe', 'ignore', 'ignore'] });
    return program;
  } catch {
    return undefined;
  }
}
