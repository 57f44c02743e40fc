/**
 * x86-64 page-table entries as Linux lays them out, as pairs of 32-bit words (`low`: bits 0-31, `high`: bits
 * 32-63). Facts of the hardware (Intel SDM vol. 3, 4.5) and of Linux since 5.19 (swap bits, markers).
 *
 * A present entry (P), and one of a PROT_NONE mapping (P clear, N set; the frame number is stored inverted, so
 * that a speculating processor finds no memory there):
 *
 *      63 62   59 58 57     52 51            12 11 10  9  8   7  6  5  4   3   2   1   0
 *     +--+-------+--+---------+----------------+--+--+--+---+--+--+--+---+---+---+---+---+
 *     |NX| PKEY  |sD| unused  |  frame number  |SD|WP|sp|G/N|PS|D |A |PCD|PWT|US |RW | P |
 *     +--+-------+--+---------+----------------+--+--+--+---+--+--+--+---+---+---+---+---+
 *
 *     WP  protected by userfaultfd     SD  soft-dirty     sp  special: no struct page is counted (zero page)
 *     PS  in a PMD entry: maps 2 MiB itself               N   PROT_NONE (the bit is G in present entries)
 *
 * What userfaultfd protects from reading, too (Linux 7.3), is an entry as of a PROT_NONE mapping with WP; the mapping tells the
 * two kinds of protection apart.
 *
 * A non-present entry that is not empty: a swap entry or a marker. The offset is stored inverted as well.
 *
 *      63   59 58                                 9  8  7  6  5  4  3  2  1  0
 *     +-------+------------------------------------+--+--+-----------+--+--+--+--+
 *     | type  |            ~offset                 |N0|0 |   unused  |E |F |SD|P0|
 *     +-------+------------------------------------+--+--+-----------+--+--+--+--+
 *
 *     E  the page is exclusive to this process     F  protected by userfaultfd     SD  soft-dirty
 *
 * A marker is a swap entry of type 31 whose offset is a set of bits: 0 userfaultfd's protection of an entry
 * without a page, 1 poison (an access gets SIGBUS), 2 guard (an access gets SIGSEGV).
 */

// The functions take words signed or unsigned alike.

/** Low word: present. */
export const P = 1 << 0;
/** Low word: writable. */
export const RW = 1 << 1;
/** Low word: accessible from user mode. */
export const US = 1 << 2;
/** Low word: accessed. */
export const A = 1 << 5;
/** Low word: dirty. */
export const D = 1 << 6;
/** Low word of a PMD entry: maps 2 MiB by itself. */
export const PS = 1 << 7;
/** Low word: PROT_NONE, when P is clear. */
export const PROTNONE = 1 << 8;
/** Low word: special; nobody counts the frame's mappings. */
export const SPECIAL = 1 << 9;
/** Low word of a present entry: protected by userfaultfd, from writing or from reading and writing. */
export const UFFD_WP = 1 << 10;
/** Low word of a present entry: soft-dirty. */
export const SOFT_DIRTY = 1 << 11;
/** Low word: a present or PROT_NONE entry has one of these. */
export const PRESENT_ANY = P | PROTNONE;
/** 0: in real page tables, every entry that is not empty stands for a page or a marker. */
export const VOID = 0;
/** 0: in real page tables, a part of a huge page has no entry of its own before the split. */
export const PART_OF_HUGE = 0;

/** Low word of a non-present entry: soft-dirty. */
export const SWP_SOFT_DIRTY = 1 << 1;
/** Low word of a non-present entry: protected by userfaultfd, from writing or from reading and writing. */
export const SWP_UFFD_WP = 1 << 2;
/** Low word of a non-present entry: the page belongs to this process alone. */
export const SWP_EXCLUSIVE = 1 << 3;

/** The type of swap entry that is a marker. */
export const SWP_TYPE_MARKER = 31;
const TYPE_SHIFT = 27;
const OFFSET_SHIFT = 9;

/** Bits of a marker's offset. */
export const MARKER_UFFD_WP = 1 << 0;
export const MARKER_POISON = 1 << 1;
export const MARKER_GUARD = 1 << 2;

const HIGH_FRAME_BITS = 0x000fffff;
const HIGH_OFFSET_BITS = 0x07ffffff;
/** The number of offsets that the low word holds. */
const LOW_OFFSETS = 2 ** (32 - OFFSET_SHIFT);

/** Low word of a non-present entry without flag bits; it holds the lower 23 bits of the offset. */
function swapLow(offset: number): number {
  return (~offset << OFFSET_SHIFT) >>> 0;
}

/** Low word of a swap entry: `slot` is the swap offset, below 2^50; flag bits are or-ed in by the caller. */
export function swapEntryLow(slot: number): number {
  return swapLow(slot);
}

/** High word of an entry in swap file 0 that goes with `swapEntryLow`: the offset's upper 27 bits. */
export function swapEntryHigh(slot: number): number {
  return ~Math.floor(slot / LOW_OFFSETS) & HIGH_OFFSET_BITS;
}

/** The swap offset of a swap entry made by `swapEntryLow` and `swapEntryHigh`. */
export function swapEntrySlot(low: number, high: number): number {
  return (~low >>> OFFSET_SHIFT) + (~high & HIGH_OFFSET_BITS) * LOW_OFFSETS;
}

/** High word of every marker: the type, and the inverted offset's upper bits. */
export const MARKER_HIGH = ((SWP_TYPE_MARKER << TYPE_SHIFT) | HIGH_OFFSET_BITS) >>> 0;

/** Low word of a userfaultfd marker. */
export const MARKER_UFFD_WP_LOW = swapLow(MARKER_UFFD_WP);
/** Low word of a guard marker. */
export const MARKER_GUARD_LOW = swapLow(MARKER_GUARD);
/** Low word of a poison marker. */
export const MARKER_POISON_LOW = swapLow(MARKER_POISON);

/** Whether the entry is a marker. An empty entry, a swap entry and a present one are not. */
export function isMarker(low: number, high: number): boolean {
  return (low & PRESENT_ANY) === 0 && high >>> TYPE_SHIFT === SWP_TYPE_MARKER;
}

/** The marker's bits (`MARKER_*`); meaningless for other entries. */
export function markerBits(low: number): number {
  return (~low >>> OFFSET_SHIFT) & (MARKER_UFFD_WP | MARKER_POISON | MARKER_GUARD);
}

/** Whether userfaultfd protects what this non-present, non-empty entry stands for. */
export function isNonPresentProtected(low: number, high: number): boolean {
  return (
    (low & SWP_UFFD_WP) !== 0 ||
    (high >>> TYPE_SHIFT === SWP_TYPE_MARKER && (~low & (MARKER_UFFD_WP << OFFSET_SHIFT)) !== 0)
  );
}

/** Whether userfaultfd protects the entry, of whatever kind. */
export function isProtected(low: number, high: number): boolean {
  return (low & PRESENT_ANY) !== 0 ? (low & UFFD_WP) !== 0 : isNonPresentProtected(low, high);
}

/** The frame number of a present or PROT_NONE entry, below 2^40. */
export function frameOf(low: number, high: number): number {
  if ((low & P) === 0) {
    low = ~low;
    high = ~high;
  }
  return (low >>> 12) + (high & HIGH_FRAME_BITS) * 0x100000;
}

/** Low word of an entry that maps `frame` with these flag bits; inverts the frame number for PROT_NONE. */
export function mapLow(frame: number, flags: number): number {
  const bits = (frame & 0xfffff) << 12;
  return (((flags & P) === 0 ? ~bits & ~0xfff : bits) | flags) >>> 0;
}

/** High word that goes with `mapLow`. */
export function mapHigh(frame: number, flags: number): number {
  const bits = Math.floor(frame / 0x100000) & HIGH_FRAME_BITS;
  return (flags & P) === 0 ? ~bits & HIGH_FRAME_BITS : bits;
}

/**
 * Write-protects one entry as userfaultfd does: a present one loses its write permission, an empty one becomes
 * a marker, any other has its protection bit set.
 */
export function protectEntry(words: Uint32Array, slot: number): void {
  const low = words[slot]!;
  if ((low & PRESENT_ANY) !== 0) words[slot] = (low | UFFD_WP) & ~RW;
  else if (low !== 0) words[slot] = low | SWP_UFFD_WP;
  else {
    words[slot] = MARKER_UFFD_WP_LOW;
    words[slot + 1] = MARKER_HIGH;
  }
}
