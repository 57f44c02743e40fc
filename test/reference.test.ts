/** The library's reference in docs/api says what the declarations in dist say. After a change of them: npm run docs */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { ROOT } from './support/typescript.js';

const NOT_INSTALLED = 3;

test('docs/api is current', async ({ skip }) => {
  const args = [join(ROOT, 'scripts/reference/main.mjs'), '--check'];
  const { code, said } = await promisify(execFile)(process.execPath, args).then(
    ({ stdout }) => ({ code: 0, said: stdout }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      said: error.stdout + error.stderr,
    }),
  );
  skip(code === NOT_INSTALLED && !process.env['CI'], said);
  expect(said).toBe('');
  expect(code).toBe(0);
});
