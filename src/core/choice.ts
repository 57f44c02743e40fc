/** Which mappings a dump holds: the kernel's filter, and what was asked for by name. */
import type { Mapping } from '../proc/index.js';
import { isVdso, mappingMatcher } from '../proc/internal.js';
import { hasElfHeader, type MappingTraits, type Share, shareOf } from './filter.js';
import { failure } from './limits.js';

/** Patterns of mapping names: with `*` or `?`, the whole name; otherwise a part of it. Unnamed memory is `[anon]`. */
export interface NamePatterns {
  readonly only?: readonly string[] | undefined;
  readonly without?: readonly string[] | undefined;
  readonly zero?: readonly string[] | undefined;
}

type Matcher = (name: string) => boolean;

function anyOf(patterns: readonly string[] | undefined): Matcher | undefined {
  if (patterns === undefined || patterns.length === 0) return undefined;
  const matchers = patterns.map(mappingMatcher);
  return (name) => matchers.some((matches) => matches(name));
}

export class Choice {
  readonly #filter: number;
  readonly #only: Matcher | undefined;
  readonly #without: Matcher | undefined;
  readonly #zero: Matcher | undefined;

  /** @param filter bits of /proc/PID/coredump_filter */
  constructor(filter: number, patterns: NamePatterns = {}, stacksOnly = false) {
    this.#filter = filter;
    // What else there is of them is found at the stop.
    this.#only = stacksOnly ? () => false : anyOf(patterns.only);
    this.#without = anyOf(patterns.without);
    this.#zero = anyOf(patterns.zero);
  }

  shareOf(mapping: Mapping, traits: MappingTraits): Share {
    const share = shareOf(mapping, traits, this.#filter);
    if (share === 'none' || isVdso(mapping)) return share;
    const { name } = mapping;
    if (this.#without?.(name)) return 'none';
    if (this.#zero?.(name)) return 'zeros';
    if (this.#only === undefined || this.#only(name)) return share;
    // So that it can be told which programs and libraries there were.
    return hasElfHeader(mapping, this.#filter) ? 'header' : 'none';
  }
}

/** @throws PagemapError ENOENT when no mapping has a name that was asked for: a secret that is not zeroed would go unnoticed */
export function checkPatterns({ only, zero }: NamePatterns, mappings: readonly Mapping[], pid: number): void {
  for (const pattern of [...(only ?? []), ...(zero ?? [])]) {
    const matches = mappingMatcher(pattern);
    if (mappings.some(({ name }) => matches(name))) continue;
    throw failure(
      `dump process ${pid} by the names of its mappings`,
      'ENOENT',
      `none has "${pattern}" in its name; pmscan maps ${pid} shows their names, and unnamed ones are [anon]`,
      pid,
    );
  }
}
