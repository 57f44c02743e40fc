/// <reference lib="esnext.disposable" preserve="true" />
/** The files that are mapped in a process, and the first pages of programs and libraries. */
import { closeSync } from 'node:fs';
import { PAGE_SIZE } from '../abi/index.js';
import { bufferAddress, openMappedFile, type ProcessHandle, type ProcessMemory } from '../live/internal.js';
import type { Mapping } from '../proc/index.js';
import { fileId } from './file-id.js';
import type { Planned } from './plan.js';

const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;

export class MappedFiles implements Disposable {
  readonly #handle: ProcessHandle;
  readonly #memory: ProcessMemory;
  /** By `fileId`; -1 for those that cannot be opened. */
  readonly #files = new Map<string, number>();
  /** By the mapping's start; without a page where no ELF file begins. */
  readonly #headers = new Map<number, { readonly id: string; readonly page: Uint8Array | undefined }>();

  constructor(handle: ProcessHandle, memory: ProcessMemory) {
    this.#handle = handle;
    this.#memory = memory;
  }

  /** The file behind a mapping, held open from when it is first seen; undefined when it may not be opened. */
  open(mapping: Mapping): number | undefined {
    const id = fileId(mapping);
    let fd = this.#files.get(id);
    if (fd === undefined) {
      fd = openMappedFile(this.#handle, mapping) ?? -1;
      this.#files.set(id, fd);
    }
    return fd < 0 ? undefined : fd;
  }

  /** Reads the first pages of those mappings of which that is wanted, each once. */
  readHeaders(plan: readonly Planned[]): void {
    for (const { mapping, share } of plan) {
      if (share !== 'header' && share !== 'written-else-header') continue;
      const id = fileId(mapping);
      if (this.#headers.get(mapping.start)?.id === id) continue;
      this.#headers.set(mapping.start, { id, page: this.#readHeader(mapping) });
    }
  }

  /** The first page of a mapping that begins at `start`, if it is an ELF file's and `readHeaders` has read it. */
  header(start: number): Uint8Array | undefined {
    return this.#headers.get(start)?.page;
  }

  #readHeader({ start }: Mapping): Uint8Array | undefined {
    const page = new Uint8Array(new ArrayBuffer(PAGE_SIZE));
    this.#memory.read([start, start + PAGE_SIZE], page, bufferAddress(page.buffer), () => undefined);
    return ELF_MAGIC.every((byte, index) => page[index] === byte) ? page : undefined;
  }

  /** Closes the files of all other mappings. */
  keepOnly(mappings: readonly Mapping[]): void {
    const kept = new Set(mappings.map(fileId));
    for (const [id, fd] of this.#files) {
      // One that could not be opened may be another one under the same number by now.
      if (kept.has(id) && fd >= 0) continue;
      if (fd >= 0) closeSync(fd);
      this.#files.delete(id);
    }
    for (const [start, { id }] of this.#headers) if (!kept.has(id)) this.#headers.delete(start);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#files.values()) if (fd >= 0) closeSync(fd);
    this.#files.clear();
  }
}
