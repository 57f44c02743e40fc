import { describe, expect, test } from 'vitest';
import { partPath, pathElement } from './place.js';

describe('names from outside in paths', () => {
  test.each([
    ['web-1.example.org', 'web-1.example.org'],
    ['..', '%2E.'],
    ['.hidden', '%2Ehidden'],
    ['a/b\\c', 'a%2Fb%5Cc'],
    ['a=b%', 'a%3Db%25'],
    ['\0\n\x1b[31m', '%00%0A%1B%5B31m'],
    ['ü\u202e', '%C3%BC%E2%80%AE'],
    ['', '__HIVE_DEFAULT_PARTITION__'],
  ])('%j', (name, element) => {
    expect(pathElement(name)).toBe(element);
  });

  test('are short enough, and not cut inside an escape', () => {
    const long = pathElement('ü/'.repeat(1000));
    expect(long.length).toBeLessThanOrEqual(200);
    expect(long).toMatch(/^(%[0-9A-F]{2})+$/);
  });

  test('never leave their folder', () => {
    for (let code = 0; code < 0x300; code++) {
      const path = partPath(String.fromCharCode(code).repeat(3), 1, 'abcdef01', new Date(0));
      expect(path).toMatch(/^host=[\w.%-]+\/date=1970-01-01\/pid=1\/19700101T000000Z-abcdef01\.parquet$/);
    }
  });
});
