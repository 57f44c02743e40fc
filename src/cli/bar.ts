/** What a mapping's pages are, as a bar: each cell an equal share of its address space. */
import { PAGE_KINDS, type PageKind } from '../query/internal.js';
import type { Style } from './text.js';

/** Told apart by shape alone, so that colour only helps. */
const UNICODE: Readonly<Record<PageKind, string>> = {
  huge: '█',
  anonymous: '▓',
  file: '▒',
  zero: '0',
  swapped: 's',
  guard: '!',
  untouched: '·',
};
const ASCII: Readonly<Record<PageKind, string>> = {
  huge: 'H',
  anonymous: '#',
  file: '=',
  zero: '0',
  swapped: 's',
  guard: '!',
  untouched: '.',
};

function paint(kind: PageKind, text: string, { colors }: Style): string {
  switch (kind) {
    case 'huge':
      return colors.magenta(text);
    case 'anonymous':
      return colors.green(text);
    case 'file':
      return colors.blue(text);
    case 'zero':
      return colors.cyan(text);
    case 'swapped':
      return colors.yellow(text);
    case 'guard':
      return colors.red(text);
    case 'untouched':
      return colors.dim(text);
  }
}

/**
 * How many of `cells` cells each count gets: in proportion, rounded by largest remainder, but a kind that is there at
 * all gets at least one as long as there is room.
 */
export function shares(counts: readonly number[], cells: number): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return counts.map(() => 0);
  const exact = counts.map((count) => (count / total) * cells);
  const result = exact.map((share, index) => Math.max(Math.floor(share), counts[index]! > 0 ? 1 : 0));
  let spare = cells - result.reduce((sum, share) => sum + share, 0);
  while (spare !== 0) {
    // Give to the one that is most short of its share; take from the one that is most above it.
    let best = -1;
    for (let index = 0; index < exact.length; index++) {
      if (spare < 0 && result[index]! <= 1 && exact.length <= cells) continue;
      if (result[index] === 0) continue;
      const lack = (exact[index]! - result[index]!) * Math.sign(spare);
      if (best < 0 || lack > (exact[best]! - result[best]!) * Math.sign(spare)) best = index;
    }
    if (best < 0) break;
    result[best]! += Math.sign(spare);
    spare -= Math.sign(spare);
  }
  return result;
}

/** The bar of `counts`, which has a number of pages for each of `PAGE_KINDS`. */
export function bar(counts: readonly number[], cells: number, style: Style): string {
  const glyphs = style.unicode ? UNICODE : ASCII;
  return shares(counts, cells)
    .map((width, index) => {
      const kind = PAGE_KINDS[index]!;
      return width === 0 ? '' : paint(kind, glyphs[kind].repeat(width), style);
    })
    .join('');
}

/** What the glyphs mean. */
export function legend(style: Style): string {
  const glyphs = style.unicode ? UNICODE : ASCII;
  return PAGE_KINDS.map((kind) => `${paint(kind, glyphs[kind], style)} ${kind}`).join('  ');
}
