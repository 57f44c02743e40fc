/** What is said where read-write protection is asked for: on kernels without it, that Linux 7.3 has it. */
import { describe, expect, test } from 'vitest';
import { PAGE_IS_ACCESSED, PagemapError, uffd } from '../../src/abi/index.js';
import { ASYNC_RWP_FEATURES, kernelCategories, mapMemory, Userfaultfd } from '../../src/live/index.js';
import { pmscan } from '../support/cli.js';
import { testWhere } from '../support/needs.js';

const known = process.platform === 'linux' && (kernelCategories() & PAGE_IS_ACCESSED) !== 0;

function message(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof PagemapError) return `${error.code} ${error.message}`;
    throw error;
  }
  return '';
}

describe.skipIf(known)('a kernel without it', () => {
  testWhere('userfaultfd', 'wp-async')('is told from one that has it', () => {
    const WITHOUT = /^EINVAL Cannot .*Linux 7\.3/;
    using memory = mapMemory({ lengthBytes: 4096 });
    using faults = Userfaultfd.open();
    const { address } = memory;
    expect(message(() => Userfaultfd.open({ features: ASYNC_RWP_FEATURES }))).toMatch(WITHOUT);
    expect(message(() => faults.register(address, 4096, uffd.UFFDIO_REGISTER_MODE_RWP))).toMatch(WITHOUT);
    expect(message(() => faults.rwProtect(address, 4096))).toMatch(WITHOUT);
    expect(message(() => faults.setMode(uffd.UFFD_FEATURE_RWP_ASYNC))).toMatch(WITHOUT);
  });

  test.each([
    ['--where', 'present & !accessed'],
    ['--return', 'accessed'],
  ])('pmscan scan %s %s gives exit code 5', async (option, text) => {
    const { code, stderr } = await pmscan(['scan', String(process.pid), option, text]);
    expect([code, stderr]).toEqual([5, expect.stringContaining('Linux 7.3')]);
  });
});

describe.runIf(known)('a kernel with it', () => {
  test('turns RWP_ASYNC off and on', () => {
    using faults = Userfaultfd.open({ features: ASYNC_RWP_FEATURES });
    faults.setMode(0, uffd.UFFD_FEATURE_RWP_ASYNC);
    faults.setMode(uffd.UFFD_FEATURE_RWP_ASYNC);
    expect(message(() => faults.setMode(uffd.UFFD_FEATURE_WP_ASYNC))).toMatch(/^EINVAL/);
  });
});
