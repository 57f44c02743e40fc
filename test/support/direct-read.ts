/** A process that reads past the page cache, test/native/direct-read.c, and what a core file of it must show. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { nativeProgram } from './native.js';
import type { CoreReader } from './torn.mjs';

export class DirectRead implements AsyncDisposable {
  readonly pid: number;
  readonly #end: () => Promise<void>;
  readonly #memory: number;
  readonly #done: number;
  readonly #chunks: number;
  readonly #chunkBytes: number;

  private constructor(pid: number, end: () => Promise<void>, layout: readonly string[]) {
    this.pid = pid;
    this.#end = end;
    this.#memory = Number.parseInt(layout[0]!, 16);
    this.#done = Number.parseInt(layout[1]!, 16);
    this.#chunks = Number(layout[2]);
    this.#chunkBytes = Number(layout[3]);
  }

  static async start(
    folder: string,
    way: 'sync' | 'aio' | 'uring' | 'fixed',
    uid?: number,
  ): Promise<DirectRead> {
    const child = spawn(nativeProgram('direct-read'), [folder, way], {
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const exited = once(child, 'exit');
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const end = async () => {
      child.kill('SIGKILL');
      await exited;
    };
    const { value } = await lines.next();
    if (value === undefined) throw new Error('Cannot start direct-read: it says nothing');
    if ((await lines.next()).done) throw new Error('Cannot start direct-read: it has ended');
    return new DirectRead(child.pid!, end, String(value).split(' '));
  }

  /** How many chunks were read to the end, and which of them hold something else than what was read. */
  check(core: CoreReader): { whole: number; torn: number[] } {
    const done = core.memory(this.#done, this.#chunks * 8)!;
    const torn: number[] = [];
    let whole = 0;
    for (let chunk = 0; chunk < this.#chunks; chunk++) {
      const which = done[chunk * 8]!;
      if (which === 0) continue;
      whole++;
      const bytes = core.memory(this.#memory + chunk * this.#chunkBytes, this.#chunkBytes)!;
      if (!bytes.equals(Buffer.alloc(this.#chunkBytes, Buffer.from([which, 0, 0, 0, 0, 0, 0, 0]))))
        torn.push(chunk);
    }
    return { whole, torn };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }
}
