/** Parsers of option values. Each throws commander's InvalidArgumentError, so that the option is named. */
import { InvalidArgumentError, Option } from 'commander';
import { CATEGORIES, categoryBit } from '../abi/index.js';
import { userSpaceEnd } from '../live/index.js';
import { type AddressRange, SIZE_UNITS } from '../query/internal.js';

/** `64M`, `1.5GiB`, `4096`: bytes. Units are binary, as everywhere where pages are counted. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * SIZE_UNITS[match[2]!.toUpperCase()]! : Number.NaN;
  if (Number.isNaN(bytes)) {
    throw new InvalidArgumentError('Give a size in bytes, or with a unit: 4096, 64K, 1.5G.');
  }
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('Give a size that is a whole number of bytes, and below 2^53.');
  }
  return bytes;
}

const TIME_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
const LONGEST_MS = 7 * 24 * 3_600_000;

/** `500ms`, `1.5s`, `2m`, `1h`: milliseconds, from 1. A bare number is seconds. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h)?$/.exec(text.trim());
  const milliseconds = match ? Number(match[1]) * TIME_UNITS[match[2] ?? 's']! : Number.NaN;
  if (!(milliseconds >= 1 && milliseconds <= LONGEST_MS)) {
    throw new InvalidArgumentError('Give a time from 1ms to 168h, with a unit: 100ms, 1s, 5m, 2h.');
  }
  return milliseconds;
}

/** A parser of `2%` or `0.02`: a share above 0, at most 1. */
function shareOf(whole: string): (text: string) => number {
  return (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(text.trim());
    const share = match ? Number(match[1]) / (match[2] === '%' ? 100 : 1) : Number.NaN;
    if (!(share > 0 && share <= 1))
      throw new InvalidArgumentError(`Give a share of ${whole}, above 0 and at most all: 2%, 0.5%, 100%.`);
    return share;
  };
}

export const parseShare = shareOf('the pages');

/** What a watch may cost the process, of a processor's time. */
export const parseBudget = shareOf('the time');

/** For what looks for long, or at many processes. */
export const DEFAULT_BUDGET = '2%';

/** How much of all pages is looked at for accesses: each first access to one of them costs the process a fault. */
export const DEFAULT_SAMPLE = '2%';

/** An integer from 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('Give a whole number from 1.');
  }
  return value;
}

function parseAddress(text: string): number {
  // Bare digits are hexadecimal too, as in /proc/PID/maps, so that ranges can be pasted from there.
  const match = /^(?:0x)?([0-9a-f]{1,16})$/i.exec(text.trim());
  if (!match) {
    throw new InvalidArgumentError(
      'Give hexadecimal addresses: 0x7f0000000000-0x7f0000200000, or a start and a size: 0x7f0000000000+2M.',
    );
  }
  return Number.parseInt(match[1]!, 16);
}

/** `A-B` or `A+SIZE`. Collects over repeated options. */
export function parseRange(text: string, previous: readonly AddressRange[] = []): AddressRange[] {
  const match = /^([^-+]+)([-+])([^-+]+)$/.exec(text);
  if (!match) {
    throw new InvalidArgumentError(
      'Give two addresses, 0x7f0000000000-0x7f0000200000, or 0x7f0000000000+2M.',
    );
  }
  const [, startText, separator, endText] = match as unknown as [string, string, string, string];
  const from = parseAddress(startText);
  const to = separator === '+' ? from + parseSize(endText) : parseAddress(endText);
  if (to <= from) throw new InvalidArgumentError('The end must lie behind the start.');
  const end = userSpaceEnd();
  if (to > end) {
    throw new InvalidArgumentError(`The range lies outside user space, which ends at 0x${end.toString(16)}.`);
  }
  return [...previous, { start: from, end: to }];
}

/** `present,file`: a set of categories; `none` for the empty one. */
export function parseCategories(text: string): number {
  if (text.trim().toLowerCase() === 'none') return 0;
  let categories = 0;
  for (const name of text.split(',')) {
    const bit = categoryBit(name.trim());
    if (bit === undefined) {
      throw new InvalidArgumentError(
        `There is no category "${name.trim()}". Give a list of: ${CATEGORIES.map((category) => category.name).join(', ')}; or none.`,
      );
    }
    categories |= bit;
  }
  return categories;
}

/** Several ranges as the fewest, in address order: scanned once each, whatever was given. */
export function mergeRanges(ranges: readonly AddressRange[]): AddressRange[] {
  const merged: { start: number; end: number }[] = [];
  for (const { start, end } of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1);
    if (last !== undefined && start <= last.end) last.end = Math.max(last.end, end);
    else merged.push({ start, end });
  }
  return merged;
}

/** The parts of `ranges` that lie in `limits`; both merged and in address order. */
export function intersectRanges(
  ranges: readonly AddressRange[],
  limits: readonly AddressRange[],
): AddressRange[] {
  const parts: AddressRange[] = [];
  let first = 0;
  for (const range of ranges) {
    while (first < limits.length && limits[first]!.end <= range.start) first++;
    for (let index = first; index < limits.length && limits[index]!.start < range.end; index++) {
      const limit = limits[index]!;
      parts.push({ start: Math.max(range.start, limit.start), end: Math.min(range.end, limit.end) });
    }
  }
  return parts;
}

/** An option whose default is shown as one would write it. */
export function optionOr<Value>(
  flags: string,
  description: string,
  parse: (text: string) => Value,
  otherwise: string,
): Option {
  return new Option(flags, description).argParser(parse).default(parse(otherwise), otherwise);
}
