import { describe, expect, test } from 'vitest';
import { explainFreezer, findFreezer } from './frozen.js';

const V2 = '30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const V1 =
  '31 24 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n32 24 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu';
const reader = (files: Record<string, string>) => (path: string) => files[path];

describe('control groups', () => {
  test('none is frozen', () => {
    const files = {
      '/sys/fs/cgroup/a/cgroup.freeze': '0',
      '/sys/fs/cgroup/a/cgroup.events': 'populated 1\nfrozen 0',
    };
    expect(findFreezer('0::/a\n', V2, reader(files))).toBeUndefined();
    expect(findFreezer('0::/\n', V2, reader({}))).toBeUndefined();
    expect(findFreezer('0::/a\n', '', reader(files))).toBeUndefined();
  });

  test('the outermost that was frozen is named, not the one that the process is in', () => {
    const files = {
      '/sys/fs/cgroup/docker/cgroup.freeze': '1',
      '/sys/fs/cgroup/docker/x/cgroup.freeze': '0',
      '/sys/fs/cgroup/docker/x/cgroup.events': 'populated 1\nfrozen 1',
    };
    const found = findFreezer('1:name=systemd:/\n0::/docker/x\n', V2, reader(files))!;
    expect(found).toEqual({ version: 2, group: '/docker', folder: '/sys/fs/cgroup/docker' });
    expect(explainFreezer(found)).toContain('echo 0 > /sys/fs/cgroup/docker/cgroup.freeze');
  });

  test('frozen from outside of a container', () => {
    const inside = V2.replace(' / /sys', ' /docker/x /sys');
    const files = { '/sys/fs/cgroup/cgroup.events': 'populated 1\nfrozen 1' };
    expect(findFreezer('0::/docker/x\n', inside, reader(files))).toMatchObject({ group: '/docker/x' });
  });

  test('version 1', () => {
    const files = {
      '/sys/fs/cgroup/freezer/a/b/freezer.state': 'FREEZING',
      '/sys/fs/cgroup/freezer/a/b/freezer.self_freezing': '0',
      '/sys/fs/cgroup/freezer/a/freezer.self_freezing': '1',
    };
    const found = findFreezer('6:freezer:/a/b\n0::/\n', `${V1}\n${V2}`, reader(files))!;
    expect(found).toEqual({ version: 1, group: '/a', folder: '/sys/fs/cgroup/freezer/a' });
    expect(explainFreezer(found)).toContain('echo THAWED > /sys/fs/cgroup/freezer/a/freezer.state');
    const thawed = { '/sys/fs/cgroup/freezer/a/b/freezer.state': 'THAWED' };
    expect(findFreezer('6:freezer:/a/b\n', V1, reader(thawed))).toBeUndefined();
  });
});
