/** Stopping children of this very process, which Node waits for, too. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { ProcessError, ProcessHandle, ProcessStopper } from '../../src/live/internal.js';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';
import { firstOutput } from '../support/output.mjs';
import { until } from '../support/until.js';

const live = testWhere('ptrace', 'compiler');

/** A child that cannot be stopped: it waits for a child that it made by vfork. */
async function startVfork() {
  const child = spawn(nativeProgram('refuse'), ['vfork']);
  await firstOutput(child);
  // Until it is in that call.
  await sleep(20);
  return child;
}

function reasonOf(work: () => unknown): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof ProcessError) return error.reason;
    throw error;
  }
}

live('one that is killed while it is let go of, or waited for: Node hears of its end', async () => {
  for (const isWaitedFor of [false, true]) {
    const child = await startVfork();
    const exited = once(child, 'exit');
    using handle = new ProcessHandle(child.pid!);
    const stopper = new ProcessStopper(handle, { stopTimeoutMs: isWaitedFor ? 3000 : 50 });
    if (isWaitedFor) {
      // From outside, while this process does nothing but wait for the stop.
      const killer = spawn('sh', ['-c', `sleep 0.2; kill -9 ${child.pid}`]);
      const killed = once(killer, 'exit');
      const reason = reasonOf(() => stopper.stop()[Symbol.dispose]());
      expect(reason === 'ended' || reason === undefined, reason).toBe(true);
      await killed;
    } else {
      expect(reasonOf(() => stopper.stop())).toBe('busy');
      child.kill('SIGKILL');
    }
    expect((await exited)[1]).toBe('SIGKILL');
    // Its own child, which has its input, ends with that.
    child.stdin.end();
  }
});

live('one that could not be stopped can be tried again, and says the same', async () => {
  const child = await startVfork();
  const exited = once(child, 'exit');
  using handle = new ProcessHandle(child.pid!);
  const stopper = new ProcessStopper(handle, { stopTimeoutMs: 50 });
  for (let turn = 0; turn < 3; turn++) expect(reasonOf(() => stopper.stop())).toBe('busy');
  child.stdin.end();
  // It is let go of, and ends. (Node may take its last stop for its end.)
  await exited;
  await until('its end', () => !existsSync(`/proc/${child.pid}`));
});
