/**
 * /proc/PID/smaps and smaps_rollup (man proc_pid_smaps): each mapping's line as in maps, then lines of fields:
 *
 *     562587ae3000-562587ae5000 r--p 00000000 fe:00 260386                     /usr/bin/head
 *     Size:                  8 kB
 *     ...
 *     THPeligible:           0
 *     VmFlags: rd mr mw me
 */
import { decimalEnd, decimalValue, isHexDigit, type Mapping, parseMappingLine } from './maps.js';
import { cutOffError, decodeName, lineEnd, ProcParseError, plainBytes } from './text.js';

/**
 * The fields that the kernel prints in kB, here in bytes, by the kernel's names. Each is there when this kernel prints
 * it. The named ones are those of Linux 6.18; others are taken, too.
 */
export interface SmapsSizes {
  readonly Size?: number | undefined;
  readonly KernelPageSize?: number | undefined;
  readonly MMUPageSize?: number | undefined;
  readonly Rss?: number | undefined;
  readonly Pss?: number | undefined;
  readonly Pss_Dirty?: number | undefined;
  readonly Pss_Anon?: number | undefined;
  readonly Pss_File?: number | undefined;
  readonly Pss_Shmem?: number | undefined;
  readonly Shared_Clean?: number | undefined;
  readonly Shared_Dirty?: number | undefined;
  readonly Private_Clean?: number | undefined;
  readonly Private_Dirty?: number | undefined;
  readonly Referenced?: number | undefined;
  readonly Anonymous?: number | undefined;
  readonly KSM?: number | undefined;
  readonly LazyFree?: number | undefined;
  readonly AnonHugePages?: number | undefined;
  readonly ShmemPmdMapped?: number | undefined;
  readonly FilePmdMapped?: number | undefined;
  readonly Shared_Hugetlb?: number | undefined;
  readonly Private_Hugetlb?: number | undefined;
  readonly Swap?: number | undefined;
  readonly SwapPss?: number | undefined;
  readonly Locked?: number | undefined;
  readonly [field: string]: number | undefined;
}

/** A mapping with what the kernel counted in it. */
export interface SmapsMapping extends Mapping {
  /** Sizes in bytes: `Rss`, `Swap` and so on. */
  sizes: SmapsSizes;
  /** Fields that are plain numbers, by the kernel's names: `THPeligible`, `ProtectionKey`. */
  numbers: { readonly [field: string]: number | undefined };
  /** New transparent huge pages may be allocated in it; undefined when the kernel does not say (before 5.0). */
  thpEligible: boolean | undefined;
  /** The two-letter codes of man proc_pid_smaps: `rd`, `wr`, `um`, `uw`. Empty when the kernel does not print them. */
  vmFlags: string[];
}

const SPACE = 0x20;
const COLON = 0x3a;
const VM_FLAGS = 'VmFlags';

/** Whether ` kB` stands at `at`. */
function isKilobytes(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === SPACE && bytes[at + 1] === 0x6b && bytes[at + 2] === 0x42;
}

/**
 * Names of fields, made once: the kernel prints the same ones in the same order for every mapping, so the n-th line of
 * a mapping is compared with the n-th line of the ones before.
 */
class FieldNames {
  readonly #names: string[] = [];
  readonly #bytes: Uint8Array[] = [];

  get(bytes: Uint8Array, from: number, to: number, index: number): string {
    const known = this.#bytes[index];
    if (known !== undefined && known.length === to - from) {
      let same = 0;
      while (same < known.length && known[same] === bytes[from + same]) same++;
      if (same === known.length) return this.#names[index]!;
    }
    const name = decodeName(bytes, from, to);
    this.#names[index] = name;
    this.#bytes[index] = bytes.slice(from, to);
    return name;
  }
}

/**
 * Parses the bytes of /proc/PID/smaps or smaps_rollup; no bytes give an empty list.
 *
 * Lines of fields that are neither a number nor flags are skipped: a later kernel may print them.
 *
 * @throws ProcParseError for a line that is neither a mapping nor a field, a field before the first mapping, and, as
 *   `parseMaps` does, a last line without a newline
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs';
 * import { parseSmaps } from 'pagemap-scan/proc';
 * let rssBytes = 0;
 * for (const { sizes } of parseSmaps(readFileSync('/proc/self/smaps'))) rssBytes += sizes.Rss ?? 0;
 * console.assert(rssBytes > 1_000_000);
 * ```
 */
export function parseSmaps(file: Uint8Array): SmapsMapping[] {
  const bytes = plainBytes(file);
  const mappings: SmapsMapping[] = [];
  const fieldNames = new FieldNames();
  let current: SmapsMapping | undefined;
  let sizes: Record<string, number> = {};
  let numbers: Record<string, number> = {};
  let fieldIndex = 0;
  for (let at = 0, line = 1; at < bytes.length; line++) {
    const end = lineEnd(bytes, at);
    if (end < 0) throw cutOffError('smaps', line, bytes, at);
    // Addresses are in lower case and fields begin with a capital.
    if (isHexDigit(bytes[at]!)) {
      const mapping = parseMappingLine(bytes, at, end, line, 'smaps');
      sizes = {};
      numbers = {};
      current = { ...mapping, sizes, numbers, thpEligible: undefined, vmFlags: [] };
      mappings.push(current);
      fieldIndex = 0;
      at = end + 1;
      continue;
    }
    let colon = at;
    while (colon < end && bytes[colon] !== COLON) colon++;
    if (colon === at || colon === end) {
      throw new ProcParseError('smaps', line, bytes.subarray(at, end), 'neither a mapping nor a field');
    }
    if (current === undefined) {
      throw new ProcParseError('smaps', line, bytes.subarray(at, end), 'a field before the first mapping');
    }
    const field = fieldNames.get(bytes, at, colon, fieldIndex++);
    let cursor = colon + 1;
    while (bytes[cursor] === SPACE) cursor++;
    if (field === VM_FLAGS) {
      current.vmFlags = decodeName(bytes, cursor, end).split(' ').filter(Boolean);
    } else {
      const digitsEnd = decimalEnd(bytes, cursor);
      const rest = end - digitsEnd;
      if (digitsEnd > cursor && (rest === 0 || (rest === 3 && isKilobytes(bytes, digitsEnd)))) {
        const value = decimalValue(bytes, cursor, digitsEnd);
        if (rest === 3) sizes[field] = value * 1024;
        else numbers[field] = value;
        if (field === 'THPeligible') current.thpEligible = value !== 0;
      }
    }
    at = end + 1;
  }
  return mappings;
}
