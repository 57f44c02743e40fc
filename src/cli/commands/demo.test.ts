import { expect, test } from 'vitest';
import { outputStyle } from '../text.js';
import { showPages, simulatedStage } from './demo.js';

test('at 80 columns the names of the sample are whole, and no line is longer', async () => {
  const lines: string[] = [];
  await using stage = simulatedStage('this is a test');
  const output = {
    write: () => undefined,
    line: (text: string) => void lines.push(text),
    flush: async () => {},
  };
  await showPages(stage, output, { ...outputStyle(false), columns: 80, unicode: true });
  const names = stage.sample.parts.map(({ name }) => name);
  expect(names).toHaveLength(10);
  const rows = lines.filter((line) => line.startsWith('0x'));
  expect(rows.slice(0, 10).map((row) => names.find((name) => row.endsWith(`  ${name}`)))).toEqual(names);
  for (const row of rows) expect(names.some((name) => row.endsWith(`  ${name}`))).toBe(true);
  // The filter's table, too.
  expect(rows.length).toBeGreaterThan(14);
  for (const line of lines.slice(1)) expect(line.length).toBeLessThanOrEqual(80);
});
