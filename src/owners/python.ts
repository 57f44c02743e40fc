/** CPython's own allocator, by the headers of its pools. */
import { baseName } from '../proc/internal.js';
import type { Claims } from './claims.js';
import { mappedBlockBytes } from './malloc.js';

/** How large an arena is and the pools in it, bytes: since 3.10, and before. */
const LAYOUTS = [
  { arena: 1 << 20, pool: 1 << 14 },
  { arena: 1 << 18, pool: 1 << 12 },
] as const;
/** Blocks come in sizes that are multiples of this, bytes. */
const BLOCK_BYTES = 16;
const MOST_SIZES = 32;
const HEADER_WORDS = 6;
/** So many pools of an arena are looked at. */
const MOST_POOLS = 4;
/** So many arenas one after the other are looked at in a mapping. */
const MOST_STEPS = 1024;

/**
 * The number of an arena by a pool's header, -1 where none begins there. The header tells the size of the pool's blocks, and the last
 * offset at which one of them fits: these must agree.
 */
function arenaNumber(claims: Claims, pool: number, poolBytes: number): number {
  const words = claims.evidence.read(pool, HEADER_WORDS);
  if (words === undefined) return -1;
  const size = words.high(4);
  const isHeader =
    size < MOST_SIZES &&
    words.high(5) === poolBytes - (size + 1) * BLOCK_BYTES &&
    words.low(5) <= poolBytes &&
    words.low(0) <= poolBytes / BLOCK_BYTES &&
    (words.at(1) === 0 || Math.floor(words.at(1) / poolBytes) === pool / poolBytes);
  return isHeader ? words.low(4) : -1;
}

/** How many pools' headers show that an arena begins at an address. */
function poolsOfArena(claims: Claims, start: number, arenaBytes: number, poolBytes: number): number {
  const first = Math.ceil(start / poolBytes) * poolBytes;
  const number = arenaNumber(claims, first, poolBytes);
  if (number < 0) return 0;
  let pools = 1;
  for (
    let at = first + poolBytes;
    pools < MOST_POOLS && at + poolBytes <= start + arenaBytes;
    at += poolBytes
  ) {
    if (arenaNumber(claims, at, poolBytes) !== number) break;
    pools++;
  }
  return pools;
}

/** `[python arena]`: what objects of up to 512 bytes are made in. malloc's large blocks may lie in the same mapping. */
export function recognisePython(claims: Claims): void {
  const isPython = claims.mappings.some(({ name }) =>
    /^(lib)?python[0-9.]*(\.so[0-9.]*)?$/.test(baseName(name)),
  );
  if (!isPython) return;
  for (const index of claims.unsureWritable()) {
    const { start, end } = claims.mappings[index]!;
    const bytes = { arenas: 0, blocks: 0 };
    let mayBeChance = false;
    let at = start;
    let steps = 0;
    for (; at < end && steps < MOST_STEPS; steps++) {
      const block = mappedBlockBytes(claims, at, end);
      if (block > 0) {
        bytes.blocks += block;
        at += block;
        continue;
      }
      let pools = 0;
      const layout = LAYOUTS.find(({ arena, pool }) => {
        pools = at + arena <= end ? poolsOfArena(claims, at, arena, pool) : 0;
        return pools > 0;
      });
      if (layout === undefined) break;
      mayBeChance ||= pools < 2;
      bytes.arenas += layout.arena;
      at += layout.arena;
    }
    // Of a mapping that holds more than is looked at, what was looked at stands for the rest.
    const looked = (steps < MOST_STEPS ? end : at) - start;
    if (bytes.arenas === 0 || bytes.arenas < bytes.blocks || bytes.arenas < looked / 4) continue;
    const isWhole = at >= end && bytes.blocks === 0;
    claims.claim(
      index,
      'python',
      bytes.arenas > LAYOUTS[0].arena ? '[python arenas]' : '[python arena]',
      isWhole && !mayBeChance,
    );
  }
}
