/** Which mapping has which owner, while the recognisers work. */
import { findMappingIndex, type Mapping } from '../proc/index.js';
import { isPrivateAnonymous } from '../proc/internal.js';
import type { Evidence, Words } from './evidence.js';
import type { Owner, OwnerKind } from './owner.js';

/** So many words at the beginning of a mapping tell what begins there. */
const HEAD_WORDS = 14;

/** The mappings of a process, and what recognisers have said of them. */
export class Claims {
  readonly evidence: Evidence;
  readonly mappings: readonly Mapping[];
  readonly #owners: (Owner | undefined)[];
  readonly #heads: (Words | undefined | null)[];

  constructor(evidence: Evidence) {
    this.evidence = evidence;
    this.mappings = evidence.mappings;
    this.#owners = new Array(this.mappings.length);
    this.#heads = new Array(this.mappings.length).fill(null);
  }

  /** The owner of each mapping, in their order. */
  get owners(): readonly (Owner | undefined)[] {
    return this.#owners;
  }

  /** Says whose a mapping is. What was said before stays, unless it was only likely and this is sure. */
  claim(index: number, kind: OwnerKind, name: string, sure = true): void {
    const before = this.#owners[index];
    if (before === undefined || (sure && !before.sure)) this.#owners[index] = { name, kind, sure };
  }

  /** Whether nobody has said anything of a mapping yet. */
  isFree(index: number): boolean {
    return this.#owners[index] === undefined;
  }

  /** The indices of private anonymous mappings without a name of which nobody has said anything. */
  *free(): Generator<number> {
    for (let index = 0; index < this.mappings.length; index++) {
      if (this.isFree(index) && isUnnamed(this.mappings[index]!)) yield index;
    }
  }

  /** Those of `free` that the process can read and write. */
  *freeWritable(): Generator<number> {
    for (const index of this.free()) if (this.#isWritable(index)) yield index;
  }

  /** Those of `free`, and those of which there is a guess only. For recognisers that are sure: a guess must not hide what they look for. */
  *unsure(): Generator<number> {
    for (let index = 0; index < this.mappings.length; index++) {
      if (this.#owners[index]?.sure !== true && isUnnamed(this.mappings[index]!)) yield index;
    }
  }

  /** Those of `unsure` that the process can read and write. */
  *unsureWritable(): Generator<number> {
    for (const index of this.unsure()) if (this.#isWritable(index)) yield index;
  }

  #isWritable(index: number): boolean {
    return this.mappings[index]!.perms.startsWith('rw');
  }

  /** The first words of a mapping, where they can be read. */
  head(index: number): Words | undefined {
    let head = this.#heads[index];
    if (head !== null) return head;
    const mapping = this.mappings[index]!;
    head = mapping.perms[0] === 'r' ? this.evidence.read(mapping.start, HEAD_WORDS) : undefined;
    this.#heads[index] = head;
    return head;
  }

  /** The index of the mapping that holds an address, -1 for none. */
  indexAt(address: number): number {
    return findMappingIndex(this.mappings, address);
  }

  /** Whether an address lies in memory that the process can read. */
  isReadable(address: number): boolean {
    return this.mappings[this.indexAt(address)]?.perms[0] === 'r';
  }

  /** The unnamed mapping without access that ends where this one begins. */
  guardBelow(index: number): Mapping | undefined {
    const below = this.mappings[index - 1];
    return below !== undefined && below.end === this.mappings[index]!.start && isReserved(below)
      ? below
      : undefined;
  }

  /** The unnamed mapping without access that begins where this one ends. */
  guardAbove(index: number): Mapping | undefined {
    const above = this.mappings[index + 1];
    return above !== undefined && above.start === this.mappings[index]!.end && isReserved(above)
      ? above
      : undefined;
  }
}

/** Private anonymous memory that the kernel has no name for. */
export function isUnnamed(mapping: Mapping): boolean {
  return mapping.name === '' && isPrivateAnonymous(mapping);
}

/** Unnamed memory that nobody can access: a guard, or address space that is kept free. */
export function isReserved(mapping: Mapping): boolean {
  return mapping.perms === '---p' && isUnnamed(mapping);
}
