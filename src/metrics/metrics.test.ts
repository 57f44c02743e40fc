import { expect, test } from 'vitest';
import { PAGE_KINDS } from '../query/internal.js';
import { type MeasuredMapping, Metrics } from './index.js';

const kinds = PAGE_KINDS.map((kind) => (kind === 'anonymous' ? 4 : 0));
const heap: MeasuredMapping = {
  mapping: { start: 0x1000, name: '[heap]', perms: 'rw-p' },
  ...{ kinds, ownerKind: 'malloc', idle: [2, null, null] },
};
const anonymous: MeasuredMapping = {
  mapping: { start: 0x100000, name: '', perms: 'rw-p' },
  ...{ kinds, ownerKind: 'go-heap', idle: [3, null, null] },
};

test('of a sample, the error is told', async () => {
  await using metrics = await Metrics.start(
    { pid: 1, name: 'init' },
    { listen: { host: '127.0.0.1', port: 0 }, toolVersion: '1.0.0' },
  );
  const errors = async () =>
    [...(await (await fetch(metrics.url!)).text()).matchAll(/^pmscan_memory_error\{.*\} (\d+)$/gm)].map(
      ([, value]) => Number(value),
    );
  const interval = { intervalMs: 1000, scanMs: 1, writtenPages: 100, mappings: [] };
  metrics.interval(interval);
  expect(await errors()).toEqual([]);
  metrics.interval({ ...interval, errorPages: 30 });
  expect(await errors()).toEqual([30 * 4096]);
});

test('mappings that are gone are told as none, not as they last were', async () => {
  await using metrics = await Metrics.start(
    { pid: 1, name: 'init' },
    { listen: { host: '127.0.0.1', port: 0 }, toolVersion: '1.0.0' },
  );
  const told = async () =>
    [...(await (await fetch(metrics.url!)).text()).matchAll(/^(pmscan_memory_\w+)\{(.*)\} (\d+)$/gm)]
      .filter(([, , labels]) => !labels!.includes('page_kind') || labels!.includes('page_kind="anonymous"'))
      .map(([, name, labels, value]) => {
        const [, key] = /pmscan_(?:mapping|owner)_kind="([^"]+)"/.exec(labels!)!;
        return `${name!.replace('pmscan_memory_', '')} ${key} ${value}`;
      })
      .sort();
  metrics.layout([heap, anonymous]);
  expect(await told()).toEqual([
    'idle anonymous 12288',
    'idle heap 8192',
    'owned go-heap 16384',
    'owned malloc 16384',
    'pages anonymous 4',
    'pages heap 4',
  ]);
  metrics.layout([heap]);
  expect(await told()).toEqual([
    'idle anonymous 0',
    'idle heap 8192',
    'owned go-heap 0',
    'owned malloc 16384',
    'pages anonymous 0',
    'pages heap 4',
  ]);
});
