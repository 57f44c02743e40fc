/** Target processes for tests: C programs that print the range they hold. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { nativeProgram } from './native.js';
import { firstOutput } from './output.mjs';

export interface Target extends AsyncDisposable {
  readonly child: ChildProcessWithoutNullStreams;
  readonly pid: number;
  readonly start: number;
  readonly end: number;
}

/** Starts the C program `name` and waits for its range; disposing ends it. */
export async function startTarget(
  name: string,
  args: readonly (string | number)[] = [],
  options: { cwd?: string; flags?: readonly string[]; uid?: number } = {},
): Promise<Target> {
  const { cwd, uid } = options;
  const user = uid === undefined ? {} : { uid, gid: uid };
  const child = spawn(nativeProgram(name, options.flags), args.map(String), { cwd, ...user });
  const exited = once(child, 'exit');
  const line = await firstOutput(child);
  const [start, end] = line
    .trim()
    .split(' ')
    .map((text) => Number.parseInt(text, 16)) as [number, number];
  return {
    child,
    pid: child.pid!,
    start,
    end,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
