import { describe, expect, test } from 'vitest';
import { findGroupMemory } from './groups.js';

const MOUNTS_2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const MOUNTS_1 = [
  '31 23 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu',
  '32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
].join('\n');

const MIB = 2 ** 20;

function files(tree: Readonly<Record<string, string | number>>) {
  return (path: string) => (path in tree ? String(tree[path]) : undefined);
}

describe('how much memory control groups hold', () => {
  test('version 2: the limit that is nearest counts, files that were not used lately do not', () => {
    const root = '/sys/fs/cgroup';
    const read = files({
      [`${root}/a/b/memory.current`]: 100 * MIB,
      [`${root}/a/b/memory.max`]: 'max',
      [`${root}/a/b/memory.stat`]: `anon 5\ninactive_file ${40 * MIB}\nactive_file 7`,
      [`${root}/a/memory.current`]: 180 * MIB,
      [`${root}/a/memory.max`]: 200 * MIB,
      [`${root}/a/memory.stat`]: `inactive_file ${60 * MIB}`,
    });
    expect(findGroupMemory('0::/a/b', MOUNTS_2, read)).toEqual({ bytes: 60 * MIB, share: 0.6 });
  });

  test('version 1: its own limits, of which the highest number is none', () => {
    const root = '/sys/fs/cgroup/memory';
    const read = files({
      [`${root}/x/memory.usage_in_bytes`]: 90 * MIB,
      [`${root}/x/memory.limit_in_bytes`]: 100 * MIB,
      [`${root}/x/memory.stat`]: `inactive_file 1\ntotal_inactive_file ${15 * MIB}`,
      [`${root}/memory.usage_in_bytes`]: 1000 * MIB,
      [`${root}/memory.limit_in_bytes`]: '9223372036854771712',
    });
    const cgroup = '5:cpu:/y\n4:memory:/x\n0::/';
    expect(findGroupMemory(cgroup, MOUNTS_1, read)).toEqual({ bytes: 75 * MIB, share: 0.75 });
  });

  test('without a limit there is no share; without a group that can be seen, nothing', () => {
    const read = files({ '/sys/fs/cgroup/a/memory.current': 5, '/sys/fs/cgroup/a/memory.max': 'max' });
    expect(findGroupMemory('0::/a', MOUNTS_2, read)).toEqual({ bytes: 5, share: undefined });
    expect(findGroupMemory('0::/a', MOUNTS_2, files({}))).toBeUndefined();
    expect(findGroupMemory('0::/a', '', read)).toBeUndefined();
    expect(findGroupMemory('', MOUNTS_2, read)).toBeUndefined();
  });
});
