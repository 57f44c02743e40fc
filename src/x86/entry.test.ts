import { describe, expect, test } from 'vitest';
import {
  frameOf,
  isMarker,
  isProtected,
  MARKER_GUARD,
  MARKER_GUARD_LOW,
  MARKER_HIGH,
  MARKER_POISON,
  MARKER_POISON_LOW,
  MARKER_UFFD_WP,
  MARKER_UFFD_WP_LOW,
  mapHigh,
  mapLow,
  markerBits,
  P,
  PROTNONE,
  RW,
  SWP_UFFD_WP,
  swapEntryHigh,
  swapEntryLow,
  swapEntrySlot,
  UFFD_WP,
  US,
} from './index.js';

describe('entries in their real bit layout', () => {
  test('a present entry holds the frame number in bits 12 to 51', () => {
    expect(mapLow(0x12345, P | RW | US)).toBe(0x12345007);
    expect(mapHigh(0xabc12345, P)).toBe(0xabc);
    for (const frame of [0, 1, 0xfffff, 0x100000, 0x7fffffff, 2 ** 39 + 5]) {
      expect(frameOf(mapLow(frame, P | US), mapHigh(frame, P | US))).toBe(frame);
    }
  });

  test('a PROT_NONE entry holds it inverted', () => {
    const low = mapLow(0x12345, PROTNONE);
    expect(low & P).toBe(0);
    expect(low >>> 12).toBe(0xfffff ^ 0x12345);
    for (const frame of [0, 0x100000, 0x7fffffff]) {
      expect(frameOf(mapLow(frame, PROTNONE), mapHigh(frame, PROTNONE))).toBe(frame);
    }
  });

  test('a swap entry holds its offset inverted from bit 9 on, and its type in bits 59 to 63', () => {
    expect(swapEntryLow(0)).toBe(0xfffffe00);
    expect(swapEntryLow(5)).toBe(0xfffff400);
    expect(swapEntryHigh(5)).toBe(0x07ffffff);
    expect(swapEntryHigh(2 ** 23)).toBe(0x07fffffe);
    for (const slot of [0, 1, 12345, 2 ** 23 - 1, 2 ** 23, 2 ** 31 + 5, 2 ** 50 - 1]) {
      expect(swapEntrySlot(swapEntryLow(slot), swapEntryHigh(slot))).toBe(slot);
      expect(isMarker(swapEntryLow(slot), swapEntryHigh(slot))).toBe(false);
    }
  });

  test('markers are swap entries of type 31', () => {
    expect(MARKER_HIGH).toBe(0xffffffff);
    expect(MARKER_UFFD_WP_LOW).toBe(0xfffffc00);
    for (const [low, bits] of [
      [MARKER_UFFD_WP_LOW, MARKER_UFFD_WP],
      [MARKER_POISON_LOW, MARKER_POISON],
      [MARKER_GUARD_LOW, MARKER_GUARD],
    ] as const) {
      expect(isMarker(low, MARKER_HIGH)).toBe(true);
      expect(markerBits(low)).toBe(bits);
    }
  });

  test('protection is found in entries of every kind', () => {
    expect(isProtected(0, 0)).toBe(false);
    expect(isProtected(mapLow(1, P | RW), 0)).toBe(false);
    expect(isProtected(mapLow(1, P | UFFD_WP), 0)).toBe(true);
    expect(isProtected(mapLow(1, PROTNONE | UFFD_WP), mapHigh(1, PROTNONE))).toBe(true);
    expect(isProtected(swapEntryLow(3), swapEntryHigh(3))).toBe(false);
    expect(isProtected(swapEntryLow(3) | SWP_UFFD_WP, swapEntryHigh(3))).toBe(true);
    expect(isProtected(MARKER_UFFD_WP_LOW, MARKER_HIGH)).toBe(true);
    expect(isProtected(MARKER_GUARD_LOW, MARKER_HIGH)).toBe(false);
    expect(isProtected(MARKER_GUARD_LOW | SWP_UFFD_WP, MARKER_HIGH)).toBe(true);
  });
});
