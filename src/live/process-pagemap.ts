/** What both kinds of live pagemaps have in common: the open file, what is read from it, and the end. */
import { closeSync } from 'node:fs';
import { errnoNumber } from '../abi/index.js';
import { scanError } from '../abi/internal.js';
import type { Mapping } from '../proc/index.js';
import { endedError, hasAddressSpace, type ProcessHandle, readPagemap } from './process.js';

export abstract class ProcessPagemap implements Disposable {
  readonly process: ProcessHandle;
  /** /proc/PID/pagemap, open for as long as this is. */
  protected readonly fd: number;
  #open = true;

  /** Takes over `process`: disposing this disposes it. */
  constructor(process: ProcessHandle) {
    this.process = process;
    this.fd = process.takenOver(() => process.openPagemap());
  }

  get pid(): number {
    return this.process.pid;
  }

  /** @throws PagemapError EBADF when this was disposed */
  protected checkOpen(range: { start: number | bigint; end: number | bigint } = { start: 0, end: 0 }): void {
    if (!this.#open) throw scanError(errnoNumber('EBADF')!, range, undefined, this.pid);
  }

  readWords(start: number, words: Uint32Array): number {
    this.checkOpen({ start, end: start });
    return readPagemap(this.fd, words, start) / 8;
  }

  mappings(): Mapping[] {
    return this.process.mappings();
  }

  get ended(): boolean {
    this.checkOpen();
    return !hasAddressSpace(this.fd);
  }

  checkAlive(): void {
    if (this.ended) throw endedError(this.process);
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.fd);
    this.process[Symbol.dispose]();
  }
}
