/** No write is lost: six writers at full speed. The soak program (test/soak/lost.mjs) makes ten times as many writes. */
import { expect } from 'vitest';
import { lostInOwnMemory, lostInProcess } from '../support/lost.mjs';
import { nativeProgram } from '../support/native.js';
import { testWhere } from '../support/needs.js';

const WRITES = 1_000_000;

testWhere(
  'pagemap-scan',
  'wp-async',
  'ptrace',
  'compiler',
)('in another process', async () => {
  const tally = await lostInProcess(nativeProgram('writers', ['-pthread']), WRITES);
  expect(tally).toMatchObject({ lost: 0, invented: 0 });
  expect(tally.writes).toBeGreaterThanOrEqual(WRITES);
  expect(tally.reported).toBeGreaterThan(1000);
});

testWhere('pagemap-scan', 'wp-async')('in own memory', async () => {
  const tally = await lostInOwnMemory(WRITES);
  expect(tally).toMatchObject({ lost: 0, invented: 0 });
  expect(tally.writes).toBeGreaterThanOrEqual(WRITES);
  expect(tally.reported).toBeGreaterThan(1000);
});
