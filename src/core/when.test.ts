import { describe, expect, test } from 'vitest';
import { compileWhen, WhenError, type WhenValues } from './when.js';

const GIB = 2 ** 30;

describe('conditions', () => {
  test.each([
    ['rss > 2G', { rss: 2 * GIB + 1 }, true],
    ['rss > 2G', { rss: 2 * GIB }, false],
    ['rss >= 2GiB', { rss: 2 * GIB }, true],
    ['rss < 1.5K', { rss: 1535 }, true],
    ['rss<=4096', { rss: 4096 }, true],
    ['swapped > 500M', { swapped: 501 * 2 ** 20 }, true],
    ['cpu > 90%', { cpu: 0.91 }, true],
    ['cpu > 250%', { cpu: 2.4 }, false],
    ['threads > 500', { threads: 501 }, true],
    ['written > 200M/s', { written: 201 * 2 ** 20 }, true],
    ['cgroup.memory > 95%', { groupShare: 0.96, groupBytes: 1 }, true],
    ['cgroup.memory > 3G', { groupShare: 0.1, groupBytes: 4 * GIB }, true],
    ['signal USR1', { signals: new Set(['USR1']) }, true],
    ['signal sigusr2', { signals: new Set(['USR1']) }, false],
    ['RSS > 1K AND NOT threads > 5', { rss: 2000, threads: 5 }, true],
  ] satisfies [string, WhenValues, boolean][])('%s', (text, values, met) => {
    expect(compileWhen(text).isMet(values)).toBe(met);
  });

  test('and binds more than or; parentheses change that; two negations are none', () => {
    const values = (a: number, b: number, c: number): WhenValues => ({ rss: a, swapped: b, threads: c });
    for (let bits = 0; bits < 8; bits++) {
      const [a, b, c] = [bits & 1, (bits >> 1) & 1, bits >> 2] as [number, number, number];
      const met = (text: string) => compileWhen(text).isMet(values(a, b, c));
      expect(met('rss > 0 | swapped > 0 & threads > 0')).toBe(Boolean(a || (b && c)));
      expect(met('(rss > 0 | swapped > 0) && threads > 0')).toBe(Boolean((a || b) && c));
      expect(met('!!rss > 0 & !(swapped > 0 || threads > 0)')).toBe(Boolean(a && !(b || c)));
    }
  });

  test('what is not known decides nothing', () => {
    const met = (text: string, values: WhenValues) => compileWhen(text).isMet(values);
    expect(met('cpu > 90%', {})).toBe(false);
    expect(met('!(cpu > 90%)', {})).toBe(false);
    expect(met('cpu > 90% | rss > 1', { rss: 2 })).toBe(true);
    expect(met('!(cpu > 90% & rss > 1)', { rss: 0 })).toBe(true);
    expect(met('!(cpu > 90% | rss > 1)', { rss: 0 })).toBe(false);
  });

  test('says what is to be looked at', () => {
    const condition = compileWhen('rss > 1 & (cgroup.memory > 1% | !signal USR2) | cgroup.memory > 1G');
    expect([...condition.quantities].sort()).toEqual(['groupBytes', 'groupShare', 'rss']);
    expect([...condition.signals]).toEqual(['USR2']);
  });

  test.each([
    ['', 0, 0, /empty/],
    ['rss', 3, 0, /rss has to be compared/],
    ['rss > ', 6, 0, /compared with nothing[\s\S]*a size: 500M, 2G/],
    ['rss > 5%', 6, 2, /compared with '5%'/],
    ['cpu > 2G', 6, 2, /a share: 90%/],
    ['cpu > 2', 6, 1, /a share/],
    ['written > 2G', 10, 2, /a rate: 200M\/s/],
    ['threads > 5K', 10, 2, /a number/],
    ['cgroup.memory > 5/s', 16, 3, /a share: 90%, or a size/],
    ['memory > 5', 0, 6, /there is no 'memory'[\s\S]*rss, swapped/],
    ['rss > 1 cpu > 5%', 8, 3, /no & or \|/],
    ['(rss > 1', 0, 1, /without a '\)'/],
    ['rss > 1)', 7, 1, /without a '\('/],
    ['rss > 1 &', 9, 0, /missing/],
    ['rss = 1', 4, 1, /unexpected '='/],
    ['signal KILL', 7, 4, /no signal for this[\s\S]*USR1, or signal USR2/],
    ['signal', 6, 0, /no signal is named/],
    ['& rss > 1', 0, 1, /unexpected '&'/],
    ['toString > 1', 0, 8, /there is no 'toString'/],
    ['\u001b[2J', 0, 1, /unexpected '\\x1b'/],
    [`${'('.repeat(101)}rss > 1`, 100, 1, /parentheses/],
    ['a'.repeat(1025), 1024, 1, /too long/],
  ])('refuses %j', (text, index, length, message) => {
    let error: unknown;
    try {
      compileWhen(text);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(WhenError);
    expect(error).toMatchObject({ code: 'ERR_WHEN', index, length });
    expect((error as WhenError).message).toMatch(message);
    expect((error as WhenError).message.split('\n').length).toBe(4);
  });
});
