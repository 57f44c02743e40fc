import { describe, expect, test } from 'vitest';
import { randomBelow } from '../../../test/support/random.mjs';
import { CellGrid, difference } from './screen.js';

/** A terminal as far as `difference` uses one: cursor placement, styles, erasing, text. */
class Terminal {
  readonly cells: string[];
  readonly styles: string[];
  readonly columns: number;
  #at = 0;
  #style = '';

  constructor(columns: number, rows: number) {
    this.columns = columns;
    this.cells = new Array(columns * rows).fill('?');
    this.styles = new Array(columns * rows).fill('?');
  }

  write(text: string): void {
    for (const [, parameters, command, character] of text.matchAll(/\x1b\[([\d;]*)([A-Za-z])|([\s\S])/gu)) {
      if (command === 'H') {
        const [row, column] = parameters!.split(';').map(Number) as [number, number];
        this.#at = (row - 1) * this.columns + column - 1;
      } else if (command === 'm') {
        this.#style = parameters!.replace(/^0;?/, '');
      } else if (command === 'J') {
        this.cells.fill(' ');
        this.styles.fill('');
      } else {
        expect(command).toBeUndefined();
        this.cells[this.#at] = character!;
        this.styles[this.#at] = this.#style;
        this.#at++;
        if (/[\u3000-\u9fff]/.test(character!)) {
          this.cells[this.#at] = '';
          this.styles[this.#at] = this.#style;
          this.#at++;
        }
      }
    }
  }
}

describe('difference', () => {
  test('brings any terminal from any frame to any other', () => {
    const next = randomBelow(42);
    const [columns, rows] = [23, 7];
    const terminal = new Terminal(columns, rows);
    let before: CellGrid | null = null;
    for (let frame = 0; frame < 300; frame++) {
      const after = new CellGrid(columns, rows);
      for (let put = 0; put < 6; put++) {
        const text = ['abc', 'x', 'longer text', '漢字', 'a漢b', '   '][next(6)]!;
        after.put(next(columns) - 1, next(rows), text, ['', '1', '97;48;5;17'][next(3)]!);
      }
      // Halves of wide characters that were overwritten are nobody's business: skip such frames.
      const broken = after.text.some(
        (text, index) =>
          (text === '' && !/[\u3000-\u9fff]/.test(after.text[index - 1] ?? '')) ||
          (/[\u3000-\u9fff]/.test(text) && after.text[index + 1] !== ''),
      );
      if (broken) continue;
      terminal.write(difference(before, after));
      expect(terminal.cells).toEqual(after.text);
      expect(terminal.styles).toEqual(after.style);
      before = after;
    }
  });

  test('sends nothing when nothing changed, and little when little did', () => {
    const before = new CellGrid(200, 60);
    const after = new CellGrid(200, 60);
    for (const grid of [before, after])
      for (let row = 0; row < 60; row++) grid.put(0, row, 'x'.repeat(200), '1');
    expect(difference(before, after)).toBe('');
    after.put(150, 30, 'y', '1');
    expect(difference(before, after)).toBe('\x1b[31;151H\x1b[0;1my\x1b[0m');
    expect(difference(null, after)).toMatch(/^\x1b\[0m\x1b\[2J/);
    expect(difference(new CellGrid(80, 24), after)).toMatch(/^\x1b\[0m\x1b\[2J/);
  });
});

describe('put', () => {
  test('cuts at the edges, and never half of a wide character', () => {
    const grid = new CellGrid(5, 2);
    expect(grid.put(3, 0, 'abc')).toBe(5);
    expect(grid.line(0)).toBe('   ab');
    grid.put(4, 1, '漢');
    expect(grid.line(1)).toBe('');
    grid.put(3, 1, '漢');
    expect(grid.text.slice(8)).toEqual(['漢', '']);
    grid.put(0, 7, 'nowhere');
  });
});
