/** The interface as data, against what a C compiler makes of the system's headers and against koffi's layout. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import * as abi from '../src/abi/index.js';
import { PTRACE_DETACH, PTRACE_INTERRUPT, PTRACE_SEIZE, SYSCALLS } from '../src/abi/syscalls.js';
import { architecture } from '../src/live/machine.js';
import { nativeProgram } from './support/native.js';
import { testWhere } from './support/needs.js';

const STRUCTS = [
  abi.PM_SCAN_ARG,
  abi.PAGE_REGION,
  abi.uffd.UFFDIO_API_STRUCT,
  abi.uffd.UFFDIO_RANGE_STRUCT,
  abi.uffd.UFFDIO_REGISTER_STRUCT,
  abi.uffd.UFFDIO_WRITEPROTECT_STRUCT,
  abi.uffd.UFFDIO_RWPROTECT_STRUCT,
  abi.uffd.UFFDIO_SET_MODE_STRUCT,
];

/** Every constant of the ABI layer by its C name. */
function constants(): Map<string, number> {
  const all: Record<string, unknown> = {
    ...abi,
    ...abi.mman,
    ...abi.uffd,
    PTRACE_DETACH,
    PTRACE_INTERRUPT,
    PTRACE_SEIZE,
  };
  const known = new Map<string, number>();
  for (const [name, value] of Object.entries(all)) if (typeof value === 'number') known.set(name, value);
  for (const [name, value] of Object.entries(SYSCALLS[architecture()!])) known.set(`__NR_${name}`, value);
  for (const { name, sizeBytes, fields, offset } of STRUCTS as readonly abi.U64StructLayout<string>[]) {
    known.set(`sizeof ${name}`, sizeBytes);
    for (const field of fields) known.set(`${name}.${field}`, offset[field]!);
  }
  return known;
}

testWhere('compiler')('constants, sizes and offsets are those of the system headers', () => {
  const printed: Record<string, number> = JSON.parse(
    execFileSync(nativeProgram('abi'), { encoding: 'utf8' }),
  );
  const ownDeclaration = printed['own_declaration'];
  delete printed['own_declaration'];
  const known = constants();
  const ours = Object.fromEntries(Object.keys(printed).map((name) => [name, known.get(name)]));
  expect(ours).toEqual(printed);
  expect(Object.keys(printed).length).toBeGreaterThan(70);
  // CI brings headers that have the interface, so that the kernel's own declaration is what was compared.
  if (process.env['CI']) expect([ownDeclaration, 'PAGE_IS_ACCESSED' in printed]).toEqual([0, true]);
});

describe('layouts', () => {
  const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi').default;
  test.each(STRUCTS)('$name is laid out as koffi does it', ({ name, sizeBytes, fields, offset }) => {
    const type = koffi.struct(`${name}_test`, Object.fromEntries(fields.map((field) => [field, 'uint64_t'])));
    expect(koffi.sizeof(type)).toBe(sizeBytes);
    for (const field of fields) {
      expect(koffi.offsetof(type, field)).toBe((offset as Record<string, number>)[field]);
    }
  });

  test('the ioctl number is the documented one', () => {
    expect(abi.PAGEMAP_SCAN).toBe(0xc0606610);
  });
});

test('errno names are those of the C library', async () => {
  const { constants: os } = await import('node:os');
  const wrong = Object.entries(os.errno).filter(
    // Two names share a number: EAGAIN and EWOULDBLOCK, EOPNOTSUPP and ENOTSUP.
    ([name, errno]) => abi.errnoName(errno) !== name && !['EWOULDBLOCK', 'ENOTSUP'].includes(name),
  );
  expect(wrong).toEqual([]);
  expect(abi.errnoNumber('EPERM')).toBe(1);
  expect(abi.errnoNumber('ENONSENSE')).toBeUndefined();
  expect(abi.errnoName(41)).toBe('E41');
  expect(abi.errnoName(4000)).toBe('E4000');
});
