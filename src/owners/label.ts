/** Owners as text. */

import { baseName, mappingMatcher } from '../proc/internal.js';
import { mappingLabel, printable } from '../query/internal.js';
import type { Owner } from './owner.js';

/** The name, with a `?` where it is only likely: `[jemalloc?]`. As the process has it: for JSON, not for a terminal. */
export function ownerText({ name, sure }: Owner): string {
  if (sure) return name;
  return name.endsWith(']') ? `${name.slice(0, -1)}?]` : `${name}?`;
}

/** The same, made harmless. */
export function ownerLabel(owner: Owner): string {
  return printable(ownerText(owner));
}

/** Whether an owner's name says more of a mapping than the kernel's name for it. Of a file, nothing says more than its path. */
export function ownerSaysMore(owner: string, name: string): boolean {
  return owner !== name && name[0] !== '/';
}

/** A mapping as people see it: by its owner where that says more than the kernel's name, a file by its path. */
export function ownedLabel(
  mapping: { readonly name: string; readonly deleted?: boolean | undefined },
  owner: Owner | undefined,
): string {
  return owner === undefined || owner.name === mapping.name ? mappingLabel(mapping) : ownerLabel(owner);
}

/** A matcher for mappings, as `mappingMatcher`: by the kernel's name, or by the owner's. */
export function ownedMatcher(pattern: string): (name: string, owner: Owner | undefined) => boolean {
  const matches = mappingMatcher(pattern);
  return (name, owner) =>
    matches(name) || (owner !== undefined && (matches(owner.name) || matches(ownerText(owner))));
}

interface Placed {
  readonly start: number;
  readonly end: number;
  readonly name: string;
  readonly owner?: Owner | undefined;
}

/**
 * What lies right beside memory that nobody has a name for: `after [go heap]`, `before libc.so.6`; undefined for memory with a name, and where
 * nothing is beside it. The one before comes first: what allocates in order puts its next piece behind the last one.
 */
export function besideLabel(
  mapping: Placed,
  before: Placed | undefined,
  after: Placed | undefined,
): string | undefined {
  if (mapping.name !== '' || mapping.owner !== undefined) return undefined;
  const text = (neighbour: Placed | undefined) => {
    if (neighbour === undefined || (neighbour.name === '' && neighbour.owner === undefined)) return undefined;
    return neighbour.name[0] === '/'
      ? printable(baseName(neighbour.name))
      : ownedLabel(neighbour, neighbour.owner);
  };
  const first = before?.end === mapping.start ? text(before) : undefined;
  if (first !== undefined) return `after ${first}`;
  const second = after?.start === mapping.end ? text(after) : undefined;
  return second === undefined ? undefined : `before ${second}`;
}
