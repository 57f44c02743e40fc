/** The metadata of a store, in `store.json`: the process of its snapshots, and its machine. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PAGE_SIZE, USER_SPACE_END } from '../abi/index.js';
import { codeOf, MOST_USER_SPACE_END } from '../abi/internal.js';
import { coreArchitectureOf } from '../core/internal.js';
import { architecture, userSpaceEnd } from '../live/internal.js';
import { explainAccess, SnapshotError } from './errors.js';
import { STORE_FILE } from './files.js';
import { writeWhole } from './write.js';

const STORE_SCHEMA = 'pagemap-scan/snapshots@2';
/** Its blocks have no CRC-32, and it tells no machine. */
const STORE_SCHEMA_1 = 'pagemap-scan/snapshots@1';

/** The process whose snapshots a store holds. */
export interface StoreProcess {
  readonly pid: number;
  /** When it began, in the kernel's ticks since boot. */
  readonly startTime: number;
  /** The boot ID that its number and start time belong to. */
  readonly bootId: string;
  readonly name: string;
  readonly commandLine: string;
}

/** The machine that the process ran on: snapshots can be looked at on another one. */
export interface StoreMachine {
  /** As Node calls it: x64 is x86-64. */
  readonly architecture: 'x64' | 'arm64';
  readonly pageSizeBytes: number;
  /** Where the memory of its processes ends, bytes. */
  readonly userSpaceEnd: number;
}

const X64: StoreMachine = { architecture: 'x64', pageSizeBytes: PAGE_SIZE, userSpaceEnd: USER_SPACE_END };

export function thisMachine(): StoreMachine {
  const name = architecture();
  if (name === undefined)
    throw new SnapshotError(
      'version',
      `Cannot keep snapshots of processes of ${process.platform} on ${process.arch}`,
    );
  return { architecture: name, pageSizeBytes: PAGE_SIZE, userSpaceEnd: userSpaceEnd() };
}

export interface StoreFile {
  readonly process: StoreProcess;
  /** Undefined in a store of format 1, which does not tell it: registers do (`machineOfRegisters`). */
  readonly machine: StoreMachine | undefined;
}

/** Checked, because anybody may have made the store, and the number becomes a part of file names. */
function isProcess(value: unknown): value is StoreProcess {
  if (typeof value !== 'object' || value === null) return false;
  const { pid, startTime, bootId, name, commandLine } = value as Record<keyof StoreProcess, unknown>;
  return (
    Number.isSafeInteger(pid) &&
    (pid as number) >= 1 &&
    Number.isSafeInteger(startTime) &&
    [bootId, name, commandLine].every((text) => typeof text === 'string')
  );
}

/**
 * Undefined when there is none.
 *
 * @throws SnapshotError 'version', 'damaged' and 'not-permitted'
 */
export function readStoreFile(folder: string): StoreFile | undefined {
  const path = join(folder, STORE_FILE);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw explainAccess(error, `read ${path}`);
  }
  let content: { schema?: unknown; process?: unknown; machine?: StoreMachine | null };
  try {
    content = JSON.parse(text) ?? {};
  } catch (cause) {
    throw new SnapshotError('damaged', `Cannot read ${path}: it is no JSON`, { cause });
  }
  const { schema, process: about, machine } = content;
  if ((schema !== STORE_SCHEMA && schema !== STORE_SCHEMA_1) || about === undefined)
    throw new SnapshotError(
      'version',
      `Cannot read the snapshots in ${folder}: their format is ${String(schema)}, and this version knows ${STORE_SCHEMA} and ${STORE_SCHEMA_1}`,
    );
  if (!isProcess(about))
    throw new SnapshotError('damaged', `Cannot read ${path}: it does not tell the process`);
  if (schema === STORE_SCHEMA_1) return { process: about, machine: undefined };
  const end = machine?.userSpaceEnd;
  if (
    machine == null ||
    !Number.isSafeInteger(end) ||
    end! <= 0 ||
    end! > MOST_USER_SPACE_END ||
    end! % PAGE_SIZE !== 0
  )
    throw new SnapshotError('damaged', `Cannot read ${path}: it does not tell the machine`);
  if (coreArchitectureOf(machine.architecture) === undefined || machine.pageSizeBytes !== PAGE_SIZE)
    throw new SnapshotError(
      'version',
      `Cannot read the snapshots in ${folder}: they are of ${machine.architecture} with pages of ${machine.pageSizeBytes} bytes, which this version does not know`,
    );
  return { process: about, machine };
}

/** The machine of a store that does not tell it, by the registers of a thread. */
export function machineOfRegisters(registers: Uint8Array | undefined): StoreMachine {
  if (registers?.length !== coreArchitectureOf('arm64')!.registersBytes) return X64;
  return { architecture: 'arm64', pageSizeBytes: PAGE_SIZE, userSpaceEnd: MOST_USER_SPACE_END };
}

export function writeStoreFile(folder: string, about: StoreProcess, machine: StoreMachine): void {
  const content = { schema: STORE_SCHEMA, process: about, machine };
  writeWhole(join(folder, STORE_FILE), Buffer.from(`${JSON.stringify(content, null, 2)}\n`));
}
