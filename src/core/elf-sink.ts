/** Keeps the state of a process as an ELF core file. */
import type { Mapping } from '../proc/index.js';
import type { CoreArchitecture } from './architecture.js';
import type { CoreFile } from './file.js';
import { forEachPiece, Layout, PieceJoiner, placeWindows } from './layout.js';
import { FIRST_DATA_OFFSET, writeCore } from './segments.js';
import type { PageCopier, StateSink, Stored } from './sink.js';
import type { ProcessState } from './state.js';

/** Shorter pieces are written at once: handing one to another thread costs more. */
const LEAST_ASYNCHRONOUS = 128 << 10;

export class ElfSink implements StateSink {
  readonly isSequential = false;
  readonly keepsViewsOnce = true;
  readonly #file: CoreFile;
  readonly #arch: CoreArchitecture;
  readonly #publish: (length: number) => Promise<number>;
  readonly #layout = new Layout(FIRST_DATA_OFFSET);

  /** @param publish brings the file, of so many bytes, to where it is wanted, and says how many it takes there */
  constructor(file: CoreFile, arch: CoreArchitecture, publish: (length: number) => Promise<number>) {
    this.#file = file;
    this.#arch = arch;
    this.#publish = publish;
  }

  get freeBytes(): number {
    return this.#file.freeBytes;
  }

  get place(): string {
    return this.#file.folder;
  }

  reserve(start: number, end: number): void {
    this.#layout.place(start, end);
  }

  expect(mapping: Mapping, start: number, end: number): void {
    placeWindows(this.#layout, mapping, start, end);
    this.#layout.place(start, end);
  }

  write(bytes: Uint8Array<ArrayBuffer>, ranges: readonly number[]): Promise<void> | undefined {
    const writes: Promise<void>[] = [];
    forEachPiece(this.#layout, ranges, (from, length, offset) => {
      if (length >= LEAST_ASYNCHRONOUS) {
        const work = this.#file.write(bytes, from, length, offset);
        // Nobody waits for it where a later piece fails at once.
        work.catch(() => undefined);
        writes.push(work);
      } else this.#file.writeSync(bytes, from, length, offset);
    });
    if (writes.length === 0) return undefined;
    return Promise.allSettled(writes).then((results) => {
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    });
  }

  flush(): void {
    this.#file.flush();
  }

  /** Makes holes of it. */
  discard(start: number, end: number): void {
    this.#layout.parts(start, end, (from, to, offset) => {
      if (offset >= 0) this.#file.clear(offset, to - from);
    });
  }

  async finish(state: ProcessState, pages: PageCopier): Promise<Stored> {
    await this.#writePages(state, pages);
    const bytes = writeCore(this.#file, this.#layout, this.#arch, state);
    return { bytes, storedBytes: await this.#publish(bytes) };
  }

  async #writePages(state: ProcessState, pages: PageCopier): Promise<void> {
    const fromFiles: { fd: number; start: number; end: number; offset: number }[] = [];
    const fromProcess: number[] = [];
    let bytes: Uint8Array<ArrayBuffer> | undefined;
    const pieces = new PieceJoiner((from, length, offset) =>
      this.#file.writeSync(bytes!, from, length, offset),
    );
    for (const mapping of state.mappings) {
      state.visitPages(mapping, (start, end, source) => {
        if (source.in === 'file') {
          const { fd, offset } = source;
          this.#layout.place(mapping.mapping.start, mapping.mapping.end);
          fromFiles.push({ fd, start, end, offset });
        } else if (source.in === 'process') {
          this.#layout.place(start, end);
          fromProcess.push(start, end);
        } else if (source.in === 'memory') {
          if (source.bytes !== bytes) pieces.flush();
          bytes = source.bytes;
          pieces.add(this.#layout, start, end, source.at);
        }
      });
    }
    pieces.flush();
    await pages.copy(fromProcess);
    for (const { fd, start, end, offset } of fromFiles) await pages.copyFile(fd, start, end, offset);
    await pages.drain();
  }
}
