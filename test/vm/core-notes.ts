/**
 * The notes of a core file, beside those of the kernel's own for the same process: the same ones, in the same order, of the same
 * sizes. It changes where the kernel puts core files, so that it is for machines of its own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { dumpCore } from '../../src/core/index.js';
import { nativeProgram } from '../support/native.js';
import { firstOutput } from '../support/output.mjs';

const folder = mkdtempSync(join(tmpdir(), 'core-notes-'));
afterAll(() => rmSync(folder, { recursive: true }));

const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const NT_FILE = 0x46494c45;

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

test("notes are the kernel's, in its order and of its sizes", async () => {
  writeFileSync('/proc/sys/kernel/core_pattern', join(folder, 'kernel'));
  writeFileSync('/proc/sys/kernel/core_uses_pid', '0');
  const program = nativeProgram('harmless', ['-pthread']);
  const command = 'ulimit -c unlimited; exec "$0" nanosleep 3';
  const child = spawn('sh', ['-c', command, program], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  try {
    await firstOutput(child);
    await dumpCore(child.pid!, { file: join(folder, 'ours') });
  } finally {
    child.kill('SIGSEGV');
    await closed;
  }
  const [ours, kernels] = ['ours', 'kernel'].map((name) => notesOf(join(folder, name))) as [Note[], Note[]];
  expect(outline(ours)).toEqual(outline(kernels.filter(({ name }) => name !== XSAVE_LAYOUT)));
  // The main thread, two that work, one that waits for input.
  const threads = ours.filter(({ name }) => name === `CORE 0x${NT_PRSTATUS}`);
  expect(threads.length).toBe(4);
});
