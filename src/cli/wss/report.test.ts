import { expect, test } from 'vitest';
import { outputStyle } from '../text.js';
import { sampleAdvice, type WorkingSetReport, wssLines } from './report.js';

const report = (meanPages: number, errorPages: number, sampled?: number): WorkingSetReport => ({
  ...{ pid: 1, provider: 'ioctl', sampled, intervalMs: 1000, elapsedMs: 1000, residentPages: 1000 },
  windows: [{ ms: 1000, meanPages, p95Pages: meanPages, maxPages: meanPages, errorPages }],
  idle: [],
  mappings: [],
});

test.each([
  [report(52_000, 68_000, 0.02), /a sample of 2 % tells little\. Use --exact/],
  [report(1000, 300, 0.125), /a sample of 12\.5 % tells little/],
])('a sample that tells little says so', (one, text) => expect(sampleAdvice(one).join()).toMatch(text));

test.each([report(1000, 250, 0.02), report(1000, 0), { ...report(0, 0, 0.02), windows: [] }])(
  'one that is large enough says nothing',
  (one) => expect(sampleAdvice(one)).toEqual([]),
);

test('what it means is told in lines that are as wide as the terminal', () => {
  const idle = [{ atLeastMs: 1000, pages: 500 }];
  const lines = wssLines({ ...report(52_000, 68_000, 0.02), idle }, { ...outputStyle(false), columns: 80 });
  expect(lines.filter((line) => line.length > 80)).toEqual([]);
  expect(lines.join(' ')).toMatch(
    /In 1 s it touched .* were not touched\. The error is large: .* larger --sample\./,
  );
});
