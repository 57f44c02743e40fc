import { describe, expect, test } from 'vitest';
import { containerOf, isContainerId } from './containers.js';

const ID = '5f2c'.repeat(16);
const OTHER = '0b1d'.repeat(16);

describe('the container of a process', () => {
  test.each([
    ['Docker, one hierarchy', `0::/system.slice/docker-${ID}.scope\n`],
    ['Docker, several hierarchies', `9:name=systemd:/docker/${ID}\n8:pids:/docker/${ID}\n0::/\n`],
    ['Podman', `0::/machine.slice/libpod-${ID}.scope/container\n`],
    ['containerd in a pod', `0::/kubepods.slice/kubepods-pod6d4f_11.slice/cri-containerd-${ID}.scope\n`],
    ['one in another', `0::/docker/${OTHER}/docker/${ID}\n`],
    ['seen from beside it', `0::/../${ID}\n`],
  ])('is told by the path of its group: %s', (_, cgroup) => {
    expect(containerOf(cgroup)).toBe(ID);
  });

  test.each([`0::/user.slice\n`, `0::/docker/${ID}0\n`, `0::/x/${ID.slice(1)}\n`, ''])(
    'is not made up of %j',
    (cgroup) => {
      expect(containerOf(cgroup)).toBeUndefined();
    },
  );

  test('an id has twelve digits at least, so that a name is none', () => {
    expect([ID, ID.slice(0, 12)].map(isContainerId)).toEqual([true, true]);
    expect([ID.slice(0, 11), 'redis-server', 'deadbeef', ID.toUpperCase()].map(isContainerId)).toEqual(
      Array(4).fill(false),
    );
  });
});
