import { expect, test, vi } from 'vitest';
import { report } from './exit.js';
import { handleWriteErrors } from './output.js';
import { StatusLine, StatusLines } from './status-line.js';

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

test.each([
  ['that ends the work', (error: Error) => void report(error)],
  [
    'in writing the output',
    (error: Error) => {
      const on = vi.spyOn(process.stdout, 'on').mockReturnThis();
      const onErrors = vi.spyOn(process.stderr, 'on').mockReturnThis();
      handleWriteErrors();
      const [, onError] = on.mock.calls.find(([event]) => String(event) === 'error')!;
      for (const spy of [on, onErrors]) spy.mockRestore();
      (onError as (error: Error) => void)(error);
    },
  ],
])('what is shown for a while is gone before an error %s is printed', (_, fail) => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  const [line, lines] = [terminal(40, 10), terminal(40, 10)];
  const screens: string[][] = [];
  const write = vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    if (String(text).startsWith('pmscan: ')) screens.push([...line.screen, ...lines.screen]);
    return true;
  });
  try {
    using one = new StatusLine(line);
    using several = new StatusLines(lines);
    one.show('1 s left');
    several.show(['0 s of 25 s', 'touched']);
    expect([line.screen, lines.screen]).toEqual([['1 s left'], ['0 s of 25 s', 'touched']]);
    fail(Object.assign(new Error('no space'), { code: 'ENOSPC' }));
  } finally {
    for (const spy of [exit, write]) spy.mockRestore();
  }
  expect(screens).toEqual([['']]);
});
