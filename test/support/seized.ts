/** A process that another program traces, as a debugger would. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Has a process traced, until the result is disposed: while it is traced, nobody else hears of its end. */
export async function seizeByAnother(pid: number): Promise<AsyncDisposable & { readonly pid: number }> {
  const tracer = spawn(process.execPath, [join(import.meta.dirname, 'seize.mjs'), String(pid)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(tracer, 'exit');
  const end = async () => {
    tracer.kill('SIGKILL');
    await exited;
  };
  const ended = exited.then(() => {
    throw new Error(`Cannot seize process ${pid}: the tracer ended`);
  });
  ended.catch(() => undefined);
  await Promise.race([once(tracer.stdout, 'data'), ended]);
  return { pid: tracer.pid!, [Symbol.asyncDispose]: end };
}
