/** Describes a process and its threads, as data in no file's format. */
import { readFileSync } from 'node:fs';
import type { ArchitectureName } from '../abi/internal.js';
import { NT_PRSTATUS } from '../elf/index.js';
import { architecture, type ProcessHandle, type StoppedProcess } from '../live/internal.js';
import { nameBytes, type ProcessStatus, parseStatus, statName, statNumbers } from '../proc/internal.js';
import { arm64 } from './arch-arm64.js';
import { x64 } from './arch-x64.js';
import type { CoreArchitecture, RegisterSetKind } from './architecture.js';

const ARCHITECTURES: Readonly<Record<ArchitectureName, CoreArchitecture>> = { x64, arm64 };

/** That of this process; undefined where there is none yet. */
export function coreArchitecture(): CoreArchitecture | undefined {
  return coreArchitectureOf(architecture() ?? '');
}

/** That of a name, as Node has them; undefined where there is none yet. */
export function coreArchitectureOf(name: string): CoreArchitecture | undefined {
  return Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name as ArchitectureName] : undefined;
}

/** Numbers of a process or thread, of its parent, its group and its session. */
export interface TaskIds {
  readonly pid: number;
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
}

/** Registers besides the general ones, as ptrace(2) gives them. */
export interface RegisterSet extends RegisterSetKind {
  readonly content: Uint8Array;
}

/** A thread as it was at the stop. */
export interface ThreadState {
  /** As this process knows it. */
  readonly tid: number;
  /** As in /proc/PID/task/TID/comm, read a moment after the stop; empty when the thread had ended by then. */
  readonly name: string;
  /** As it knows them itself: in its own PID namespace. */
  readonly ids: TaskIds;
  readonly signalMask: bigint;
  /** Time that it has used, in units of 10 ms: by itself in user and system mode, and by children that have ended. */
  readonly ticks: readonly [user: number, system: number, childrenUser: number, childrenSystem: number];
  /** The general registers. */
  readonly registers: Uint8Array;
  /** The others that this machine has, in the kernel's order. */
  readonly registerSets: readonly RegisterSet[];
}

/** What is told of the process as a whole, read before it is stopped. */
export interface ProcessFacts {
  readonly ids: TaskIds;
  /** A letter, as in /proc/PID/stat. */
  readonly state: string;
  readonly flags: number;
  readonly nice: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes: any but 0. */
  readonly name: Uint8Array;
  /** The arguments, each ended by a 0. */
  readonly commandLine: Uint8Array;
  readonly auxv: Uint8Array;
  /** It is in another PID namespace than this process. */
  readonly isElsewhere: boolean;
}

/** What is taken of a thread while it stands still; the rest can be read later. */
export interface TakenThread extends Pick<ThreadState, 'tid' | 'signalMask' | 'registers' | 'registerSets'> {
  /** Of a thread in another PID namespace than this process. */
  readonly ids: TaskIds | undefined;
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
): TakenThread[] {
  const main = stopped.tids.includes(stopped.pid) ? [stopped.pid] : [];
  const tids = [...main, ...stopped.tids.filter((tid) => tid !== stopped.pid)];
  return tids.map((tid) => {
    const take = (type: number, mostBytes: number) => {
      const length = stopped.regset(tid, type, scratch.subarray(0, mostBytes));
      return length === undefined ? undefined : scratch.slice(0, length);
    };
    return {
      tid,
      ids: isElsewhere ? ownIds(stopped.handle, tid) : undefined,
      signalMask: stopped.signalMask(tid),
      registers: take(NT_PRSTATUS, arch.registersBytes) ?? new Uint8Array(arch.registersBytes),
      registerSets: arch.registerSets.flatMap((kind) => {
        const content = take(kind.type, kind.mostBytes);
        return content === undefined ? [] : [{ ...kind, content: trimmed(kind, content) }];
      }),
    };
  });
}

/** The addresses of a thread's stack pointer and of its own variables. */
export interface ThreadPointers {
  readonly stack: number;
  readonly thread: number;
}

export function pointersOf(
  arch: CoreArchitecture,
  { registers, registerSets }: Pick<ThreadState, 'registers' | 'registerSets'>,
): ThreadPointers {
  const { set, at } = arch.threadPointer;
  const own = set === NT_PRSTATUS ? registers : registerSets.find(({ type }) => type === set)?.content;
  return { stack: wordAt(registers, arch.stackPointerAt), thread: own === undefined ? 0 : wordAt(own, at) };
}

function wordAt(bytes: Uint8Array, offset: number): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset, true));
}

/** A set without the room that it does not use. */
function trimmed({ beginsWithLength }: RegisterSetKind, content: Uint8Array): Uint8Array {
  if (beginsWithLength !== true || content.length < 4) return content;
  const lengthBytes = new DataView(content.buffer, content.byteOffset).getUint32(0, true);
  return content.subarray(0, lengthBytes);
}

/** Adds what /proc tells of the threads. Zeros and no name for one that has ended since. */
export function describeThreads(handle: ProcessHandle, taken: readonly TakenThread[]): ThreadState[] {
  return taken.map((thread) => {
    const stat = readStat(handle, `task/${thread.tid}/stat`);
    const field = statNumbers(stat);
    return {
      ...thread,
      name: statName(stat),
      ids: thread.ids ?? { pid: thread.tid, ppid: field(4), pgid: field(5), sid: field(6) },
      ticks: [field(14), field(15), field(16), field(17)],
    };
  });
}

/** Nothing for what has ended. */
function readStat(handle: ProcessHandle, file: string): Uint8Array {
  try {
    return handle.read(file);
  } catch {
    return new Uint8Array();
  }
}

/** Gives the fields of /proc/PID/stat behind the name, by their numbers from 3 on; 0 for all when it is gone. */
export function statFields(handle: ProcessHandle, file: string): (number: number) => number {
  return statNumbers(readStat(handle, file));
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
function ownIds(handle: ProcessHandle, tid: number): TaskIds {
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

export function takeFacts(handle: ProcessHandle): ProcessFacts {
  const status = parseStatus(handle.read(`task/${handle.thread}/status`));
  const field = statFields(handle, 'stat');
  return {
    ids: {
      ...ownIds(handle, handle.thread),
      pid: parseStatus(handle.read('status')).nspid.at(-1) ?? handle.pid,
    },
    state: status.state,
    flags: field(9),
    nice: field(19),
    uid: status.uids[0],
    gid: status.gids[0],
    name: nameBytes(status.name),
    commandLine: handle.read('cmdline').slice(),
    auxv: handle.read('auxv'),
    isElsewhere: status.nspid.length > 1,
  };
}
