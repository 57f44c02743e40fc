/** /proc/PID/status and /proc/PID/stat (man proc_pid_status, proc_pid_stat). */
import { cutOffError, decodeName, lineEnd, ProcParseError, plainBytes } from './text.js';

/** Real, effective, saved and filesystem ID. */
export type CredentialIds = readonly [real: number, effective: number, saved: number, filesystem: number];

/**
 * The fields of /proc/PID/status. Sizes are in bytes, and undefined for kernel threads and zombies, which have no
 * memory. Fields that this kernel does not print, by age or configuration, are undefined.
 */
export interface ProcessStatus {
  /**
   * The main thread's name, up to 15 bytes, chosen by the process itself: escape it before you show it. Newline and
   * backslash, which the kernel escapes here, are undone; bytes that are not UTF-8 read `\xNN` (see `nameBytes`).
   */
  name: string;
  /** One letter: R running, S sleeping, D disk sleep, T stopped, t traced, Z zombie, X dead, I idle. */
  state: string;
  /** The number of the process that thread `pid` belongs to. */
  tgid: number;
  pid: number;
  /** 0 when the parent is outside the reader's PID namespace. */
  ppid: number;
  /** The process that traces it, 0 for none. */
  tracerPid: number;
  uids: CredentialIds;
  gids: CredentialIds;
  /** Supplementary groups. */
  groups: number[];
  /** A kernel thread. Undefined before Linux 6.8; PF_KTHREAD in the flags of /proc/PID/stat always says. */
  kthread: boolean | undefined;
  vmPeakBytes: number | undefined;
  vmSizeBytes: number | undefined;
  vmLckBytes: number | undefined;
  /** Memory pinned for devices for a long time. */
  vmPinBytes: number | undefined;
  vmHwmBytes: number | undefined;
  vmRssBytes: number | undefined;
  rssAnonBytes: number | undefined;
  rssFileBytes: number | undefined;
  rssShmemBytes: number | undefined;
  vmPteBytes: number | undefined;
  vmSwapBytes: number | undefined;
  hugetlbPagesBytes: number | undefined;
  /** 0 none, 1 strict, 2 filter. */
  seccomp: number | undefined;
  seccompFilters: number | undefined;
  noNewPrivs: boolean | undefined;
  /** The effective capabilities, bit n for capability number n. */
  capEff: bigint;
  threads: number;
  /** The thread's number in each PID namespace from the reader's inward; empty in kernels without namespaces. */
  nspid: number[];
  /** The same of its process group. */
  nspgid: number[];
  /** The same of its session. */
  nssid: number[];
}

interface Line {
  readonly number: number;
  readonly from: number;
  readonly valueFrom: number;
  readonly to: number;
}

const NEWLINE = 0x0a;
const TAB = 0x09;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** The lines by field. Values are decoded only when they are asked for: most never are. */
class StatusFields {
  readonly #bytes: Uint8Array;
  readonly #lines = new Map<string, Line>();
  #count = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = plainBytes(bytes);
    for (let at = 0; at < bytes.length; ) {
      const number = ++this.#count;
      const to = lineEnd(bytes, at);
      if (to < 0) throw cutOffError('status', number, bytes, at);
      const colon = bytes.indexOf(COLON, at);
      if (colon <= at || colon >= to) {
        throw new ProcParseError('status', number, bytes.subarray(at, to), 'no field');
      }
      const valueFrom = bytes[colon + 1] === TAB ? colon + 2 : colon + 1;
      const field = decodeName(bytes, at, colon);
      if (!this.#lines.has(field)) this.#lines.set(field, { number, from: at, valueFrom, to });
      at = to + 1;
    }
  }

  #fail(field: string, line: Line | undefined, problem: string): ProcParseError {
    const bytes = line === undefined ? new Uint8Array() : this.#bytes.subarray(line.from, line.to);
    return new ProcParseError('status', line?.number ?? this.#count + 1, bytes, `${problem} in ${field}`);
  }

  #required(field: string): Line {
    const line = this.#lines.get(field);
    if (line === undefined) throw this.#fail(field, undefined, 'no line');
    return line;
  }

  name(): string {
    const { valueFrom, to } = this.#required('Name');
    const bytes = this.#bytes;
    const name = new Uint8Array(to - valueFrom);
    let length = 0;
    for (let at = valueFrom; at < to; at++) {
      const next = bytes[at] === BACKSLASH && at + 1 < to ? bytes[at + 1] : undefined;
      if (next === 0x6e) name[length++] = NEWLINE;
      else name[length++] = bytes[at]!;
      if (next === 0x6e || next === BACKSLASH) at++;
    }
    return decodeName(name, 0, length);
  }

  state(): string {
    const line = this.#required('State');
    const state = this.#text(line).trim().slice(0, 1);
    if (!/^[A-Za-z]$/.test(state)) throw this.#fail('State', line, 'no letter');
    return state;
  }

  #text(line: Line): string {
    return decodeName(this.#bytes, line.valueFrom, line.to);
  }

  #parse(field: string, line: Line, pattern: RegExp): string {
    const match = pattern.exec(this.#text(line));
    if (match === null) throw this.#fail(field, line, 'no number');
    return match[1]!;
  }

  optionalNumber(field: string): number | undefined {
    const line = this.#lines.get(field);
    return line === undefined ? undefined : Number(this.#parse(field, line, /^\s*(\d+)\s*$/));
  }

  number(field: string): number {
    this.#required(field);
    return this.optionalNumber(field)!;
  }

  flag(field: string): boolean | undefined {
    const value = this.optionalNumber(field);
    return value === undefined ? undefined : value !== 0;
  }

  bytes(field: string): number | undefined {
    const line = this.#lines.get(field);
    return line === undefined ? undefined : Number(this.#parse(field, line, /^\s*(\d+) kB$/)) * 1024;
  }

  hex(field: string): bigint {
    return BigInt(`0x${this.#parse(field, this.#required(field), /^\s*([0-9a-f]+)\s*$/)}`);
  }

  numbers(field: string): number[] {
    const line = this.#lines.get(field);
    if (line === undefined) return [];
    const words = this.#text(line).split(/\s+/).filter(Boolean);
    if (!words.every((word) => /^\d+$/.test(word))) throw this.#fail(field, line, 'no list of numbers');
    return words.map(Number);
  }

  ids(field: string): CredentialIds {
    const line = this.#required(field);
    const [real, effective, saved, filesystem] = this.numbers(field);
    if (real === undefined || effective === undefined || saved === undefined || filesystem === undefined) {
      throw this.#fail(field, line, 'fewer than four numbers');
    }
    return [real, effective, saved, filesystem];
  }
}

/**
 * Parses the bytes of /proc/PID/status.
 *
 * @throws ProcParseError for a line that is no field, for one of Name, State, Tgid, Pid, PPid, TracerPid, Uid, Gid,
 *   CapEff or Threads that is missing, and for a last line without a newline: the text was cut off
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs';
 * import { parseStatus } from 'pagemap-scan/proc';
 * const status = parseStatus(readFileSync('/proc/self/status'));
 * console.assert(status.pid === process.pid && status.vmRssBytes! > 1_000_000 && status.state.length === 1);
 * ```
 */
export function parseStatus(bytes: Uint8Array): ProcessStatus {
  const fields = new StatusFields(bytes);
  return {
    name: fields.name(),
    state: fields.state(),
    tgid: fields.number('Tgid'),
    pid: fields.number('Pid'),
    ppid: fields.number('PPid'),
    tracerPid: fields.number('TracerPid'),
    uids: fields.ids('Uid'),
    gids: fields.ids('Gid'),
    groups: fields.numbers('Groups'),
    kthread: fields.flag('Kthread'),
    vmPeakBytes: fields.bytes('VmPeak'),
    vmSizeBytes: fields.bytes('VmSize'),
    vmLckBytes: fields.bytes('VmLck'),
    vmPinBytes: fields.bytes('VmPin'),
    vmHwmBytes: fields.bytes('VmHWM'),
    vmRssBytes: fields.bytes('VmRSS'),
    rssAnonBytes: fields.bytes('RssAnon'),
    rssFileBytes: fields.bytes('RssFile'),
    rssShmemBytes: fields.bytes('RssShmem'),
    vmPteBytes: fields.bytes('VmPTE'),
    vmSwapBytes: fields.bytes('VmSwap'),
    hugetlbPagesBytes: fields.bytes('HugetlbPages'),
    seccomp: fields.optionalNumber('Seccomp'),
    seccompFilters: fields.optionalNumber('Seccomp_filters'),
    noNewPrivs: fields.flag('NoNewPrivs'),
    capEff: fields.hex('CapEff'),
    threads: fields.number('Threads'),
    nspid: fields.numbers('NSpid'),
    nspgid: fields.numbers('NSpgid'),
    nssid: fields.numbers('NSsid'),
  };
}

/** In the flags of /proc/PID/stat: a kernel thread, which has no memory of its own. */
export const PF_KTHREAD = 0x00200000;

/** A few fields of /proc/PID/stat. */
export interface ProcessStat {
  pid: number;
  /** As in `ProcessStatus`, for a kernel worker longer. */
  name: string;
  /** One letter, as in `ProcessStatus`. */
  state: string;
  /** The kernel's PF_ flags (field 9), such as `PF_KTHREAD`. */
  flags: number;
  /**
   * When it started, in clock ticks (USER_HZ, nearly always 100 a second) since boot (field 22). PID and start time
   * together identify a process: when a PID is used again, its start time is later.
   */
  startTimeTicks: number;
}

/** The clock ticks a second of /proc/PID/stat: USER_HZ, which is 100 on every known architecture. */
export const TICKS_PER_SECOND = 100;

/** The name that /proc/PID/stat tells, which may hold parentheses itself; empty when there is none. */
export function statName(bytes: Uint8Array): string {
  return decodeName(bytes, bytes.indexOf(0x28) + 1, Math.max(0, bytes.lastIndexOf(0x29)));
}

/** The numbers of /proc/PID/stat behind the name, by their places from 3 on as proc(5) has them; 0 for what is missing. */
export function statNumbers(bytes: Uint8Array): (place: number) => number {
  // The name is neither escaped nor limited in what it holds; no field after it has a parenthesis.
  const fields = decodeName(bytes, bytes.lastIndexOf(0x29) + 2, bytes.length).split(' ');
  return (place) => Number(fields[place - 3] ?? 0);
}

/**
 * Parses the bytes of /proc/PID/stat, as far as needed to recognise a process later.
 *
 * @throws ProcParseError when they are not that, or cut off (no newline at the end)
 * @example
 * ```ts
 * import { readFileSync } from 'node:fs';
 * import { PF_KTHREAD, parseStatStartTime } from 'pagemap-scan/proc';
 * const { flags, startTimeTicks } = parseStatStartTime(readFileSync('/proc/self/stat'));
 * console.assert((flags & PF_KTHREAD) === 0 && startTimeTicks > 0);
 * ```
 */
export function parseStatStartTime(bytes: Uint8Array): ProcessStat {
  const fail = (problem: string) => new ProcParseError('stat', 1, bytes, problem);
  if (bytes.at(-1) !== NEWLINE) throw cutOffError('stat', 1, bytes, 0);
  // The name is neither escaped nor limited in what it holds; no field after it has a parenthesis.
  const open = bytes.indexOf(0x28);
  const close = bytes.lastIndexOf(0x29);
  if (open < 0 || close < open) throw fail('no name in parentheses');
  const pid = decodeName(bytes, 0, open).trim();
  const fields = decodeName(bytes, close + 1, bytes.length)
    .trim()
    .split(' ');
  // The first of them is field 3.
  const [state, flags, startTime] = [fields[0], fields[9 - 3], fields[22 - 3]];
  if (!/^\d+$/.test(pid)) throw fail('no PID');
  if (state === undefined || !/^[A-Za-z]$/.test(state)) throw fail('no state');
  if (flags === undefined || !/^\d+$/.test(flags)) throw fail('no flags');
  if (startTime === undefined || !/^\d+$/.test(startTime)) throw fail('no start time');
  return {
    pid: Number(pid),
    name: decodeName(bytes, open + 1, close),
    state,
    flags: Number(flags),
    startTimeTicks: Number(startTime),
  };
}
