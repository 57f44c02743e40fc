import { expect, test } from 'vitest';
import { StatusLines } from './status-line.js';

/** A terminal of some columns and rows, as far as these lines use one. */
function terminal(columns: number, rows: number) {
  const screen: string[] = [];
  let row = 0;
  let column = 0;
  return {
    ...{ isTTY: true, columns, rows, screen },
    write(text: string) {
      for (const [part, up] of text.matchAll(/\x1b\[(\d*)[AKJ]|\r|\n|[^\x1b\r\n]/g)) {
        if (part === '\r') column = 0;
        else if (part === '\n') [row, column] = [row + 1, 0];
        else if (part.endsWith('A') && part.startsWith('\x1b')) row -= Number(up);
        else if (part === '\x1b[K') screen[row] = (screen[row] ?? '').slice(0, column);
        else if (part === '\x1b[J') screen.splice(column === 0 ? row : row + 1);
        else screen[row] = (screen[row] ?? '').slice(0, column++) + part + (screen[row] ?? '').slice(column);
      }
    },
  };
}

test('lines are shown in the place of the last ones, whatever their number', () => {
  const shown = terminal(20, 10);
  {
    using lines = new StatusLines(shown);
    lines.show(['one', 'two, which is longer', 'three']);
    expect(shown.screen).toEqual(['one', 'two, which is longe', 'three']);
    lines.show(['ONE']);
    expect(shown.screen).toEqual(['ONE']);
    lines.show(Array.from({ length: 30 }, (_, index) => `line ${index}`));
    expect(shown.screen).toHaveLength(9);
    expect(shown.screen[8]).toBe('line 8');
  }
  expect(shown.screen).toEqual([]);
});

test('without a terminal, nothing is shown', () => {
  const written: string[] = [];
  using lines = new StatusLines({ write: (text: string) => written.push(text) });
  lines.show(['one']);
  expect([lines.isOn, written]).toEqual([false, []]);
});
