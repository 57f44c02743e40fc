/**
 * The list of a process's mappings, parsed only when it has changed: parsing takes longer than reading (with
 * 65,000 mappings).
 */
import type { ProcessHandle } from '../live/index.js';
import { type Mapping, parseMaps } from '../proc/index.js';

/** Behind the last address of user space; `[vsyscall]` lies above. */
const HIGHEST_ADDRESS = 2 ** 56;

export class MappingList {
  #text: Buffer | undefined;
  #mappings: readonly Mapping[] = [];

  /**
   * The mappings as they are now, in address order; the same list object as before when they have not
   * changed.
   *
   * @throws ProcessError as `ProcessHandle.read`
   */
  read(handle: ProcessHandle): readonly Mapping[] {
    return this.take(handle.read('maps'));
  }

  /** The same, of the bytes of /proc/PID/maps. */
  take(bytes: Uint8Array): readonly Mapping[] {
    if (this.#text?.equals(bytes)) return this.#mappings;
    // Both, or neither: the text of a list that cannot be parsed must not stand for the one before.
    this.#mappings = parseMaps(bytes).filter(({ start }) => start < HIGHEST_ADDRESS);
    this.#text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return this.#mappings;
  }
}
