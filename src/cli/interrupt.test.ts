import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Alarm } from './interrupt.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const never = new Promise<never>(() => undefined);

test('a long wait tells of each second', async () => {
  const alarm = new Alarm(never);
  const began = performance.now();
  const seconds: number[] = [];
  const waiting = alarm.until(began + 9000, {}, () => {
    seconds.push(Math.round((performance.now() - began) / 1000));
  });
  await vi.advanceTimersByTimeAsync(9000);
  await waiting;
  expect(seconds).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test('a wait ends with the process, and when that is requested', async () => {
  const target = { ended: false };
  const began = performance.now();
  const waiting = new Alarm(never).until(began + 60_000, target);
  target.ended = true;
  await vi.advanceTimersByTimeAsync(1000);
  await waiting;
  let request: () => void = () => undefined;
  const alarm = new Alarm(
    new Promise<void>((resolve) => {
      request = resolve;
    }),
  );
  const other = alarm.until(began + 60_000, {});
  request();
  await other;
  expect([alarm.isRequested, performance.now() - began]).toEqual([true, 1000]);
});
