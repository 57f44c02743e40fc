import { describe, expect, test } from 'vitest';
import type { Mapping } from '../proc/index.js';
import { Choice, checkPatterns, type NamePatterns } from './choice.js';
import { NO_TRAITS, type Share } from './filter.js';

const mapping = (name: string, more: Partial<Mapping> = {}): Mapping => ({
  start: 0x1000,
  end: 0x2000,
  perms: 'rw-p',
  offset: 0,
  device: { major: 0, minor: 0 },
  inode: name.startsWith('/') ? 7 : 0,
  name,
  deleted: false,
  ...more,
});

const share = (patterns: NamePatterns, one: Mapping, stacksOnly = false, traits = NO_TRAITS): Share =>
  new Choice(0x33, patterns, stacksOnly).shareOf(one, traits);

describe('mappings by their names', () => {
  const heap = mapping('[heap]');
  const library = mapping('/lib/libx.so.1', { perms: 'r--p' });

  test('without patterns, the filter alone decides', () => {
    expect(share({}, heap)).toBe('written');
    expect(share({ only: [], without: [], zero: [] }, heap)).toBe('written');
  });

  test('only: the others are left out, but for the first pages of programs and libraries', () => {
    expect(share({ only: ['[stack]', 'hea'] }, heap)).toBe('written');
    expect(share({ only: ['[stack]'] }, heap)).toBe('none');
    expect(share({ only: ['[stack]'] }, library)).toBe('header');
    expect(share({ only: ['[stack]'] }, { ...library, offset: 4096 })).toBe('none');
    expect(share({ only: ['libx'] }, library)).toBe('written-else-header');
    expect(share({ only: ['[anon]'] }, mapping(''))).toBe('written');
  });

  test('without comes before only and zero', () => {
    expect(share({ only: ['[heap]'], without: ['h*'] }, heap)).toBe('written');
    expect(share({ only: ['[heap]'], without: ['[h*'] }, heap)).toBe('none');
    expect(share({ without: ['heap'], zero: ['heap'] }, heap)).toBe('none');
    expect(share({ without: ['libx'] }, library)).toBe('none');
  });

  test('zero: also of what only does not name, and nothing that is not dumped comes in by it', () => {
    expect(share({ zero: ['heap'] }, heap)).toBe('zeros');
    expect(share({ zero: ['heap'], only: ['[stack]'] }, heap)).toBe('zeros');
    expect(share({ zero: ['heap'] }, heap, true)).toBe('zeros');
    expect(share({ zero: ['heap'] }, heap, false, { ...NO_TRAITS, dontDump: true })).toBe('none');
  });

  test('the vDSO is always there', () => {
    expect(share({ only: ['x'], without: ['vdso'], zero: ['vdso'] }, mapping('[vdso]'))).toBe('all');
  });

  test('a pattern that matches nothing is refused: a secret would stay in, or nothing would be dumped', () => {
    const check = (patterns: NamePatterns) => () => checkPatterns(patterns, [heap, library], 12);
    expect(check({ only: ['hea', '*.so.1'], zero: ['[heap]'], without: ['nothing like it'] })).not.toThrow();
    expect(check({ zero: ['haep'] })).toThrow(/"haep"/);
    expect(check({ only: ['heap', '*.so'] })).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
