import { expect, test } from 'vitest';
import { recordingText } from './record.js';

const collected = { elapsedMs: 12_300, intervalMs: 1000, writtenPages: 256 };

test('the line of a recording counts rows, which may wait, and tells what is in the file', () => {
  expect(recordingText('process 7', 'written', collected, { rows: 2082, bytes: 1444 })).toBe(
    'recording process 7: 12 s, written 1 MiB/s, 2,082 rows, 1.41 KiB in the file',
  );
  expect(recordingText('process 7', 'accessed', collected, undefined)).toBe(
    'recording process 7: 12 s, accessed 1 MiB/s',
  );
});
