/** What another process has open. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type DescriptorInfo, parseFdinfo, parseMountKinds } from '../proc/internal.js';
import type { ProcessHandle } from './process.js';

export interface OpenDescriptor {
  /** What it leads to: a path, or `kind:[number]`. */
  readonly link: string;
  /** Undefined when it was not asked for, or is closed by now. */
  readonly info: DescriptorInfo | undefined;
}

/** The folder of a thread that is alive: one that has ended shows no descriptors. */
function folderOf(handle: ProcessHandle): { folder: string; numbers: string[] } | undefined {
  const folder = handle.path(`task/${handle.thread}`);
  try {
    return { folder, numbers: readdirSync(`${folder}/fd`) };
  } catch {
    return undefined;
  }
}

/**
 * The descriptors that a process has open; undefined where that may not be seen.
 *
 * @param wanted whether more than the link is to be read
 */
export function openDescriptors(
  handle: ProcessHandle,
  wanted: (link: string) => boolean,
): OpenDescriptor[] | undefined {
  const found = folderOf(handle);
  return found?.numbers.flatMap((number) => {
    try {
      const link = readlinkSync(`${found.folder}/fd/${number}`);
      const info = wanted(link) ? parseFdinfo(readFileSync(`${found.folder}/fdinfo/${number}`)) : undefined;
      return [{ link, info }];
    } catch {
      // Closed since.
      return [];
    }
  });
}

/** Looks again and again whether a process has a descriptor of some kind; of very many, only some are looked at each time. */
export class DescriptorSearch {
  readonly #handle: ProcessHandle;
  readonly #link: string;
  #next = 0;

  /** @param link what it leads to */
  constructor(handle: ProcessHandle, link: string) {
    this.#handle = handle;
    this.#link = link;
  }

  /** @param most how many are looked at; the next look begins with what was found */
  look(most: number): boolean {
    const found = folderOf(this.#handle);
    if (found === undefined) return false;
    const { folder, numbers } = found;
    const count = Math.min(most, numbers.length);
    for (let looks = 0; looks < count; looks++, this.#next++) {
      try {
        if (readlinkSync(`${folder}/fd/${numbers[this.#next % numbers.length]}`) === this.#link) return true;
      } catch {
        // Closed since.
      }
    }
    return false;
  }
}

/** The kinds of file systems that a process sees, by the numbers of their mounts; empty when it cannot be read. */
export function mountKinds(handle: ProcessHandle): ReadonlyMap<number, string> {
  try {
    return parseMountKinds(handle.read(`task/${handle.thread}/mountinfo`));
  } catch {
    return new Map();
  }
}
