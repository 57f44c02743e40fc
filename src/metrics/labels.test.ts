import { describe, expect, test } from 'vitest';
import { labelOf, NameLabels, OTHER } from './labels.js';

describe('labels', () => {
  test.each([
    ['', '[anon]'],
    ['[heap]', '[heap]'],
    ['/usr/lib/libc.so.6', '/usr/lib/libc.so.6'],
    ['/tmp/job-123456/part-0007 (deleted)', '/tmp/job-#/part-#'],
    ['/memfd:deadbeef01', '/memfd:#'],
    ['evil"} 1\n\x1b[31m\u202e', 'evil"} 1??[31m?'],
  ])('%j', (name, label) => {
    expect(labelOf(name)).toBe(label);
  });

  test('are short', () => {
    expect(labelOf(`/${'x'.repeat(4000)}`).length).toBeLessThanOrEqual(101);
  });

  test('are few, whatever comes', () => {
    const labels = new NameLabels();
    const given = new Set<string>();
    const letters = (index: number) => String.fromCharCode(97 + (index % 26), 97 + Math.floor(index / 26));
    for (let index = 0; index < 600; index++) given.add(labels.label(`/lib/${letters(index)}`, 0.5));
    expect(given.size).toBe(21);
    expect(given).toContain(OTHER);
  });

  test('have to be earned, and are kept', () => {
    const labels = new NameLabels();
    expect(labels.label('/a', 0.001)).toBe(OTHER);
    expect(labels.label('/a', 0.02)).toBe('/a');
    expect(labels.label('/a', 0.001)).toBe('/a');
  });
});
