/**
 * The notes of a core file, beside those of the kernel's own for the same process: the same ones, in the same order, of the same
 * sizes, with the same registers. It changes where the kernel puts core files, so that it is for machines of its own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { dumpCore } from '../../src/core/index.js';
import { nativeProgram } from '../support/native.js';
import { firstOutput } from '../support/output.mjs';
import { until } from '../support/until.js';

const folder = mkdtempSync(join(tmpdir(), 'core-notes-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const NT_PRPSINFO = 3;
const NT_SIGINFO = 0x53494749;
const NT_FILE = 0x46494c45;
const SYS_READ = process.arch === 'x64' ? 0 : 63;
/** Where a NT_PRSTATUS has the number of its thread, and its registers. */
const [TID_AT, REGISTERS_AT] = [32, 112];

/** x86-64's layout of extended registers (Linux 6.12), which ptrace does not give: ours have none. */
const XSAVE_LAYOUT = 'LINUX 0x205';

interface Note {
  readonly name: string;
  readonly content: Buffer;
}

/** The notes of an ELF core file, in its order; a name is the owner and the type. */
function notesOf(file: string): Note[] {
  const bytes = readFileSync(file);
  const headers = Number(bytes.readBigUInt64LE(32));
  const notes: Note[] = [];
  for (let index = 0; index < bytes.readUInt16LE(56); index++) {
    const header = headers + index * bytes.readUInt16LE(54);
    if (bytes.readUInt32LE(header) !== PT_NOTE) continue;
    const begin = Number(bytes.readBigUInt64LE(header + 8));
    const end = begin + Number(bytes.readBigUInt64LE(header + 32));
    for (let at = begin; at < end; ) {
      const [ownerBytes, contentBytes, type] = [0, 4, 8].map((offset) => bytes.readUInt32LE(at + offset)) as [
        number,
        number,
        number,
      ];
      const owner = bytes.toString('latin1', at + 12, at + 12 + ownerBytes - 1);
      const content = at + 12 + Math.ceil(ownerBytes / 4) * 4;
      notes.push({
        name: `${owner} 0x${type.toString(16)}`,
        content: bytes.subarray(content, content + contentBytes),
      });
      at = content + Math.ceil(contentBytes / 4) * 4;
    }
  }
  return notes;
}

/** What is compared: names and sizes. How many files are mapped, and how their names are told, is not the registers' business. */
const outline = (notes: readonly Note[]) =>
  notes.map(({ name, content }) =>
    name.endsWith(NT_FILE.toString(16)) ? name : `${name}, ${content.length} bytes`,
  );

/** Each thread's registers, by its number and the note's name. What is of the process, or of the signal that ended it, is left out. */
function registersOf(notes: readonly Note[]): Record<string, string> {
  const registers: Record<string, string> = {};
  const others = [NT_PRPSINFO, NT_SIGINFO, NT_FILE].map((type) => `CORE 0x${type.toString(16)}`);
  let tid = 0;
  for (const { name, content } of notes) {
    const isStatus = name === `CORE 0x${NT_PRSTATUS}`;
    if (isStatus) tid = content.readInt32LE(TID_AT);
    if (!others.includes(name))
      registers[`${tid}: ${name}`] = content.subarray(isStatus ? REGISTERS_AT : 0).toString('hex');
  }
  return registers;
}

test("notes are the kernel's, in its order, of its sizes and with its registers", async () => {
  writeFileSync('/proc/sys/kernel/core_pattern', join(folder, 'kernel'));
  writeFileSync('/proc/sys/kernel/core_uses_pid', '0');
  const program = nativeProgram('harmless', ['-pthread']);
  // All threads wait for input, so that what they have in their registers stays as it is.
  const command = 'ulimit -c unlimited; exec "$0" read 4';
  const child = spawn('sh', ['-c', command, program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  try {
    await firstOutput(child);
    await until('all threads at rest', () => {
      const threads = readdirSync(`/proc/${child.pid}/task`);
      const call = (tid: string) => readFileSync(`/proc/${child.pid}/task/${tid}/syscall`, 'utf8');
      return threads.length === 4 && threads.every((tid) => call(tid).startsWith(`${SYS_READ} 0x0 `));
    });
    await dumpCore(child.pid!, { file: join(folder, 'ours') });
  } finally {
    child.kill('SIGSEGV');
    await closed;
  }
  const [ours, kernels] = ['ours', 'kernel'].map((name) => notesOf(join(folder, name))) as [Note[], Note[]];
  const known = kernels.filter(({ name }) => name !== XSAVE_LAYOUT);
  expect(outline(ours)).toEqual(outline(known));
  expect(registersOf(ours)).toEqual(registersOf(known));
  const threads = ours.filter(({ name }) => name === `CORE 0x${NT_PRSTATUS}`);
  expect(threads.length).toBe(4);
});
