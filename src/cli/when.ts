/** Formats what a condition was met by, as text and as JSON. */
import type { WhenMet, WhenValues } from '../core/index.js';
import { humanBytes } from './text.js';

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

/** In the order in which they are told. */
const SHOWN: readonly (readonly [Exclude<keyof WhenValues, 'signals'>, string, (value: number) => string])[] =
  [
    ['rss', 'rss', humanBytes],
    ['swapped', 'swapped', humanBytes],
    ['cpu', 'cpu', percent],
    ['threads', 'threads', String],
    ['written', 'written', (rate) => `${humanBytes(rate)}/s`],
    ['groupShare', 'cgroup.memory', percent],
    ['groupBytes', 'cgroup.memory', humanBytes],
  ];

/** `rss 2.1 GiB, cpu 98.0 %, signal USR1`. */
export function describeValues(values: WhenValues): string {
  const shown = SHOWN.flatMap(([name, title, format]) => {
    const value = values[name];
    return value === undefined ? [] : [`${title} ${format(value)}`];
  });
  return [...shown, ...[...(values.signals ?? [])].map((signal) => `signal ${signal}`)].join(', ');
}

/** Sizes in bytes, shares 1 for all, rates in bytes a second. */
export function asJson({ values, waitedMs }: WhenMet) {
  const { signals, ...numbers } = values;
  return { waitedMs, values: { ...numbers, signals: [...(signals ?? [])] } };
}
