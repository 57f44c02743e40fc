/** A target that writes what it is told (test/native/writes.c). */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { nativeProgram } from './native.js';

export interface Writes extends AsyncDisposable {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  /** Gives an order and waits until it is done; the range that was answered. */
  order(line: string): Promise<{ start: number; end: number }>;
}

export async function startWrites(): Promise<Writes> {
  const child = spawn(nativeProgram('writes'));
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async (order: string) => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`The target ended at "${order}"`);
    const [start, end] = value.split(' ').map((text: string) => Number.parseInt(text, 16));
    return { start: start!, end: end! };
  };
  await answer('start');
  return {
    child,
    pid: child.pid!,
    order(line) {
      child.stdin.write(`${line}\n`);
      return answer(line);
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await exited;
    },
  };
}
