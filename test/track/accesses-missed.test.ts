/** No access is missed for ever: four threads, and somebody who looks all the time. The soak program (test/soak/lost.mjs) does more. */
import { expect, test } from 'vitest';
import { missedAccesses } from '../support/lost.mjs';
import { nativeProgram } from '../support/native.js';
import { available, testWhere } from '../support/needs.js';

/** Read-write protection came with Linux 7.3; test/vm has one. */
const live = available('category-accessed')
  ? testWhere('pagemap-scan', 'ptrace', 'compiler')
  : (test.skip as unknown as typeof test);

const ROUNDS = Number(process.env['PMSCAN_ROUNDS'] ?? 20);

live('first accesses by four threads, collected all the time: none is missed', async () => {
  const tally = await missedAccesses(nativeProgram('toucher', ['-pthread']), ROUNDS);
  expect(tally).toMatchObject({ missed: 0, invented: 0 });
  expect(tally.reported).toBeGreaterThanOrEqual(tally.accesses);
});
