import { CATEGORIES, PAGE_SIZE } from '../../abi/index.js';
import { type AboutModel, type MappingKind, OWNER_KINDS, SUBJECT_TITLES } from '../../model/index.js';
import type { PAGE_KINDS } from '../../query/internal.js';
import { humanBytes, mappingLabel, printable } from '../../query/internal.js';
import { NO_OWNER, type OwnerKey } from './store.js';

export { hex, humanBytes, humanCount, plural, printable } from '../../query/internal.js';

export function pagesText(pages: number): string {
  return humanBytes(pages * PAGE_SIZE);
}

export function rateText(bytesPerSecond: number): string {
  return `${humanBytes(bytesPerSecond)}/s`;
}

/** Milliseconds as `0:07`, `12:34`, `1:02:03`; tenths where they matter. */
export function clock(milliseconds: number, tenths = false): string {
  const total = Math.max(0, milliseconds) / 1000;
  const hours = Math.floor(total / 3600);
  const minutes = Math.floor(total / 60) % 60;
  const seconds = tenths
    ? (total % 60).toFixed(1).padStart(4, '0')
    : String(Math.floor(total % 60)).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`;
}

/** A share of 1 as a percentage. */
export function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** A mapping with what it is called, and its owner where that says more. */
export interface Named {
  readonly name: string;
  readonly owner?: string | undefined;
}

/** Whose a mapping is, or its name; what has neither is anonymous. */
export function label({ name, owner }: Named): string {
  return owner === undefined ? mappingLabel({ name }) : printable(owner);
}

/** What is tracked, in words. */
export interface Words {
  readonly done: string;
  readonly title: string;
  readonly tracked: string;
  readonly set: string;
  /** For a sentence: "Memory that was …". */
  readonly help: string;
}

const WRITES: Words = {
  done: 'written',
  title: 'Written',
  tracked: SUBJECT_TITLES.writes,
  set: 'Write working set',
  help: 'written',
};
const ACCESSES: Words = {
  done: 'touched',
  title: 'Touched',
  tracked: SUBJECT_TITLES.accesses,
  set: 'Working set',
  help: 'read, written or executed',
};

const CHANGES: Words = {
  done: 'changed',
  title: 'Changed',
  tracked: 'Changes',
  set: 'Changed working set',
  help: 'changed',
};

export function wordsOf(about: AboutModel | undefined): Words {
  if (about?.source === 'snapshots') return CHANGES;
  return about?.subject === 'accesses' ? ACCESSES : WRITES;
}

/** The last part of a path says the most where there is little room. */
export function shortLabel(named: Named): string {
  const text = label(named);
  return text.startsWith('/') ? text.slice(text.lastIndexOf('/') + 1) || text : text;
}

export const KIND_TITLES: Readonly<Record<(typeof PAGE_KINDS)[number], string>> = {
  huge: 'Huge page',
  anonymous: 'Anonymous',
  file: 'File',
  zero: 'Zero page',
  swapped: 'Swapped',
  guard: 'Guard',
  untouched: 'Untouched',
};

export const KIND_HELP: Readonly<Record<(typeof PAGE_KINDS)[number], string>> = {
  huge: 'in memory, mapped as a huge page',
  anonymous: "in memory, the process's own",
  file: 'in memory, of a file or shared memory',
  zero: 'read but never written: the shared page of zeros',
  swapped: 'swapped out, or marked by the kernel as swapped',
  guard: 'a guard page: an access to it is an error',
  untouched: 'address space with nothing behind it yet',
};

export const NOT_KNOWN = 'not known on this kernel';

export const MAPPING_TITLES: Readonly<Record<MappingKind, string>> = {
  heap: 'Heap',
  stack: 'Stack',
  anonymous: 'Anonymous',
  shared: 'Shared memory',
  code: 'Program code',
  file: 'Files',
  device: 'Devices',
  kernel: 'Kernel-made',
};

/** A kind of owner as a title: `V8 old space`, `Stacks`. */
export function ownerTitle(key: OwnerKey): string {
  if (key === NO_OWNER) return 'Unknown';
  const title = OWNER_KINDS[key];
  return title[0]!.toUpperCase() + title.slice(1);
}

/** The categories in a set that a cell tells of, by the names that the command uses. */
export function categoriesText(categories: number): string {
  return CATEGORIES.filter(({ bit }) => categories & bit)
    .map(({ name }) => name)
    .join(', ');
}
