/** The notes of a core file: what the process was, and its threads' registers. */
import { readFileSync } from 'node:fs';
import { encodeNote, NT_AUXV, NT_FILE, NT_PRPSINFO, NT_PRSTATUS, NT_SIGINFO } from '../elf/index.js';
import type { ProcessHandle, StoppedProcess } from '../live/index.js';
import { type Mapping, nameBytes, type ProcessStatus, parseStatus } from '../proc/index.js';
import { x64 } from './arch-x64.js';
import type { CoreArchitecture } from './architecture.js';

const ARCHITECTURES: Readonly<Record<string, CoreArchitecture>> = { x64 };

/** That of this process; undefined where there is none yet. */
export function coreArchitecture(): CoreArchitecture | undefined {
  return ARCHITECTURES[process.arch];
}

/** A stopped thread's registers. */
export interface ThreadState {
  readonly tid: number;
  /** Of a thread in another PID namespace than this process. */
  readonly ids: OwnIds | undefined;
  readonly signalMask: bigint;
  readonly registers: Uint8Array;
  /** In the order of the architecture's `registerSets`; undefined for one that this machine lacks. */
  readonly sets: readonly (Uint8Array | undefined)[];
}

/** Room for register sets, made before anything is stopped. */
export function makeScratch(arch: CoreArchitecture): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(Math.max(...arch.registerSets.map(({ mostBytes }) => mostBytes))));
}

/**
 * Takes the registers of all threads, the main one first.
 *
 * @param isElsewhere the process is in another PID namespace, so that its threads have other numbers, too
 */
export function takeThreads(
  stopped: StoppedProcess,
  arch: CoreArchitecture,
  scratch: Uint8Array<ArrayBuffer>,
  isElsewhere: boolean,
): ThreadState[] {
  const main = stopped.tids.includes(stopped.pid) ? [stopped.pid] : [];
  const tids = [...main, ...stopped.tids.filter((tid) => tid !== stopped.pid)];
  return tids.map((tid) => {
    const take = (type: number, mostBytes: number) => {
      const length = stopped.regset(tid, type, scratch.subarray(0, mostBytes));
      return length === undefined ? undefined : scratch.slice(0, length);
    };
    const registers = take(NT_PRSTATUS, arch.registersBytes);
    return {
      tid,
      ids: isElsewhere ? ownIds(stopped.handle, tid) : undefined,
      signalMask: stopped.signalMask(tid),
      registers: registers ?? new Uint8Array(arch.registersBytes),
      sets: arch.registerSets.map(({ type, mostBytes }) => take(type, mostBytes)),
    };
  });
}

/** Fields of /proc/PID/stat behind the name, from field 3 on; undefined when it is gone. */
function statFields(handle: ProcessHandle, file: string): string[] | undefined {
  try {
    const text = new TextDecoder('latin1').decode(handle.read(file));
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined;
  }
}

/** What /proc/PID/stat counts times in: USER_HZ, which is 100 on every architecture that we know. */
const TICKS_PER_SECOND = 100;

function putTime(view: DataView, at: number, ticks: number): void {
  view.setBigInt64(at, BigInt(Math.floor(ticks / TICKS_PER_SECOND)), true);
  view.setBigInt64(at + 8, BigInt((ticks % TICKS_PER_SECOND) * (1e6 / TICKS_PER_SECOND)), true);
}

/** Numbers in the innermost PID namespace that a thread is in, as it knows them itself. */
interface OwnIds {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
}

/** 0 for a parent outside of the namespace, as for the process itself. */
function parentId({ ppid, nspid }: ProcessStatus): number {
  if (nspid.length < 2) return ppid;
  try {
    const parent = parseStatus(readFileSync(`/proc/${ppid}/status`)).nspid;
    return parent.length === nspid.length ? parent.at(-1)! : 0;
  } catch {
    return 0;
  }
}

/** As the kernel does in its own core files: debuggers look for threads by the numbers that stand in their memory. */
function ownIds(handle: ProcessHandle, tid: number): OwnIds {
  try {
    const status = parseStatus(handle.read(`task/${tid}/status`));
    const { nspid, nspgid, nssid } = status;
    return {
      pid: nspid.at(-1) ?? tid,
      ppid: parentId(status),
      pgid: nspgid.at(-1) ?? 0,
      sid: nssid.at(-1) ?? 0,
    };
  } catch {
    // It has ended since.
    return { pid: tid, ppid: 0, pgid: 0, sid: 0 };
  }
}

function encodeStatus(handle: ProcessHandle, arch: CoreArchitecture, thread: ThreadState): Uint8Array {
  const bytes = new Uint8Array(arch.statusBytes);
  const view = new DataView(bytes.buffer);
  const fields = statFields(handle, `task/${thread.tid}/stat`);
  const field = (number: number) => Number(fields?.[number - 3] ?? 0);
  view.setBigUint64(24, thread.signalMask, true);
  const { pid, ppid, pgid, sid } = thread.ids ?? {
    pid: thread.tid,
    ppid: field(4),
    pgid: field(5),
    sid: field(6),
  };
  view.setInt32(32, pid, true);
  view.setInt32(36, ppid, true);
  view.setInt32(40, pgid, true);
  view.setInt32(44, sid, true);
  for (let time = 0; time < 4; time++) putTime(view, 48 + time * 16, field(14 + time));
  bytes.set(thread.registers.subarray(0, arch.registersBytes), arch.statusRegistersAt);
  const hasFloatingPoint = arch.registerSets.some(
    ({ isFloatingPoint }, index) => isFloatingPoint && thread.sets[index] !== undefined,
  );
  view.setInt32(arch.statusFpValidAt, hasFloatingPoint ? 1 : 0, true);
  return bytes;
}

/** The states by their numbers in `pr_state`, as the kernel orders them. */
const STATES = 'RSDTZW';

/** What is told of the process as a whole, read before it is stopped. */
export interface ProcessFacts {
  /** `struct elf_prpsinfo`. */
  readonly info: Uint8Array;
  readonly auxv: Uint8Array;
  /** It is in another PID namespace than this process. */
  readonly isElsewhere: boolean;
}

export function takeFacts(handle: ProcessHandle): ProcessFacts {
  const status = parseStatus(handle.read(`task/${handle.thread}/status`));
  const fields = statFields(handle, 'stat') ?? [];
  const field = (number: number) => Number(fields[number - 3] ?? 0);
  const info = new Uint8Array(136);
  const view = new DataView(info.buffer);
  const state = Math.max(0, STATES.indexOf(status.state));
  info[0] = state;
  info[1] = status.state.charCodeAt(0);
  info[2] = status.state === 'Z' ? 1 : 0;
  view.setInt8(3, field(19));
  view.setBigUint64(8, BigInt(field(9)), true);
  view.setUint32(16, status.uids[0], true);
  view.setUint32(20, status.gids[0], true);
  const { ppid, pgid, sid } = ownIds(handle, handle.thread);
  view.setInt32(24, parseStatus(handle.read('status')).nspid.at(-1) ?? handle.pid, true);
  view.setInt32(28, ppid, true);
  view.setInt32(32, pgid, true);
  view.setInt32(36, sid, true);
  info.set(nameBytes(status.name).subarray(0, 15), 40);
  // The arguments with spaces between them; the last byte stays 0.
  const commandLine = handle.read('cmdline').slice(0, 79);
  let end = commandLine.length;
  while (end > 0 && commandLine[end - 1] === 0) end--;
  for (let at = 0; at < end; at++) info[56 + at] = commandLine[at] === 0 ? 0x20 : commandLine[at]!;
  return { info, auxv: handle.read('auxv'), isElsewhere: status.nspid.length > 1 };
}

const PAGE = 4096n;

/** Which file is mapped where. */
function encodeFiles(mappings: readonly Mapping[]): Uint8Array {
  const files = mappings.filter(({ inode, name }) => inode !== 0 || name[0] === '/');
  const names = files.map(({ name, deleted }) => nameBytes(`${name}${deleted ? ' (deleted)' : ''}`));
  const head = 16 + files.length * 24;
  const bytes = new Uint8Array(head + names.reduce((sum, name) => sum + name.length + 1, 0));
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(files.length), true);
  view.setBigUint64(8, PAGE, true);
  let at = head;
  files.forEach(({ start, end, offset }, index) => {
    view.setBigUint64(16 + index * 24, BigInt(start), true);
    view.setBigUint64(24 + index * 24, BigInt(end), true);
    view.setBigUint64(32 + index * 24, BigInt(offset) / PAGE, true);
    bytes.set(names[index]!, at);
    at += names[index]!.length + 1;
  });
  return bytes;
}

/** All notes, in the kernel's order: debuggers take what stands before the second PRSTATUS for the first thread's. */
export function encodeNotes(
  handle: ProcessHandle,
  arch: CoreArchitecture,
  facts: ProcessFacts,
  mappings: readonly Mapping[],
  threads: readonly ThreadState[],
): Uint8Array[] {
  const notes: Uint8Array[] = [];
  threads.forEach((thread, index) => {
    notes.push(encodeNote('CORE', NT_PRSTATUS, encodeStatus(handle, arch, thread)));
    if (index === 0) {
      notes.push(encodeNote('CORE', NT_PRPSINFO, facts.info));
      // No signal: nothing has happened to it.
      notes.push(encodeNote('CORE', NT_SIGINFO, new Uint8Array(128)));
      notes.push(encodeNote('CORE', NT_AUXV, facts.auxv));
      notes.push(encodeNote('CORE', NT_FILE, encodeFiles(mappings)));
    }
    arch.registerSets.forEach(({ owner, type }, set) => {
      const content = thread.sets[set];
      if (content !== undefined) notes.push(encodeNote(owner, type, content));
    });
  });
  return notes;
}
