import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { firstOutput } from './output.mjs';
import { until } from './until.js';

/** Its child ends only when the shell is another program: one that never takes note of it, and that ends with us. */
const SCRIPT = '(until grep -q cat /proc/$$/comm; do :; done) & echo $!; exec cat';

/** A process that has exited and that nobody takes note of, until it is disposed of. */
export async function startZombie(): Promise<AsyncDisposable & { readonly pid: number }> {
  const parent = spawn('sh', ['-c', SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(parent, 'exit');
  const end = async () => {
    parent.kill('SIGKILL');
    await exited;
  };
  try {
    const pid = Number(await firstOutput(parent));
    await until(`process ${pid} is a zombie`, () =>
      /^State:\sZ/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
    );
    return { pid, [Symbol.asyncDispose]: end };
  } catch (error) {
    await end();
    throw error;
  }
}
