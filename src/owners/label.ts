/** Owners as text. */

import { mappingMatcher } from '../proc/internal.js';
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
