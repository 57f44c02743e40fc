/** What tests hook into a dump: not exported by the package. */
import { type DumpHooks, dumpWithHooks } from './dump.js';
import type { CoreOptions, CoreResult } from './options.js';

/** `dumpCore`, with what tests hook into it among its options. */
export function dumpCore(pid: number, options: CoreOptions & DumpHooks): Promise<CoreResult> {
  const { beforeStop, whileStopped, ...rest } = options;
  return dumpWithHooks(pid, rest, { beforeStop, whileStopped });
}
