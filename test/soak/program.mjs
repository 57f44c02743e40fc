// C programs of test/native for the soak programs and benchmarks, compiled as the tests compile them.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

const BUILD = join(import.meta.dirname, '../../.build/soak');

export function compile(name) {
  mkdirSync(BUILD, { recursive: true });
  const program = join(BUILD, name);
  const source = join(import.meta.dirname, '../native', `${name}.c`);
  // A virtual machine has no compiler, but the programs of the tests.
  const made = join(import.meta.dirname, '../../.build', name);
  if (existsSync('/jobs.json') && existsSync(made)) return made;
  execFileSync('cc', ['-O2', '-Wall', '-pthread', '-o', program, source]);
  return program;
}

/** A number from the command line, or `otherwise`. */
export function argument(index, otherwise) {
  return Number(process.argv[index + 2] ?? otherwise);
}
