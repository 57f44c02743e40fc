import type { MemoryFile } from './memory.js';
import type { Mm } from './mm.js';
import type { Vma } from './vma.js';

/** By file, which address spaces have how many mappings of it: a parent and its children may share one. */
const spacesOf = new WeakMap<MemoryFile, Map<Mm, number>>();

/** A mapping of a file was added to an address space. */
export function noteMapping(file: MemoryFile, mm: Mm): void {
  let spaces = spacesOf.get(file);
  if (spaces === undefined) {
    spaces = new Map();
    spacesOf.set(file, spaces);
  }
  spaces.set(mm, (spaces.get(mm) ?? 0) + 1);
}

/** A mapping of a file is gone from an address space. */
export function forgetMapping(file: MemoryFile, mm: Mm): void {
  const spaces = spacesOf.get(file)!;
  const left = spaces.get(mm)! - 1;
  if (left === 0) spaces.delete(mm);
  else spaces.set(mm, left);
}

/**
 * Calls back for the mappings, in whatever address space, that have a page of [first, first + pages) of a file: where these
 * would lie.
 */
export function forEachMappingOf(
  file: MemoryFile,
  first: number,
  pages: number,
  visit: (mm: Mm, vma: Vma, start: number, end: number) => void,
): void {
  for (const mm of spacesOf.get(file)?.keys() ?? []) {
    for (const vma of mm.mappings) {
      if (vma.file !== file) continue;
      const page = vma.start + first - vma.offset;
      const start = Math.max(vma.start, page);
      const end = Math.min(vma.end, page + pages);
      if (start < end) visit(mm, vma, start, end);
    }
  }
}
