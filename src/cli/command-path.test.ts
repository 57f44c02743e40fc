import { expect, test } from 'vitest';
import { isThere } from './command-path.js';

test('commands are looked for as a shell does', () => {
  expect(isThere('sh', '/no/such/folder:/bin')).toBe(true);
  expect(isThere('sh', '/no/such/folder')).toBe(false);
  expect(isThere('/etc/passwd', '')).toBe(true);
  expect(isThere('etc', '/')).toBe(false);
});
