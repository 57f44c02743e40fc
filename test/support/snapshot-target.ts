/** A program that lies still, or changes a byte when it is told to, as a target for snapshots. */
import type { Target } from './target.js';
import { startTarget } from './target.js';

/** glibc tells the kernel of an area that it writes to whenever a thread goes on: then nothing is as it was. */
process.env['GLIBC_TUNABLES'] = 'glibc.pthread.rseq=0';

export interface PokedTarget extends Target {
  /** Writes a byte at an offset of its memory; ended when it is there. */
  poke(offset: number, value: number): Promise<void>;
}

export async function startPoked(mebibytes = 4, threads = 2): Promise<PokedTarget> {
  const target = await startTarget('poked', [mebibytes, threads], { flags: ['-pthread'] });
  const { child } = target;
  child.stdout.setEncoding('utf8');
  return Object.assign(target, {
    async poke(offset: number, value: number) {
      const answer = new Promise((resolve) => child.stdout.once('data', resolve));
      child.stdin.write(`${offset} ${value}\n`);
      await answer;
    },
  });
}
