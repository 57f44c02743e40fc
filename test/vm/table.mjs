// The table of docs/reference/kernels.md: written from what was measured, or compared with it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROWS } from './matrix.mjs';

const FILE = join(import.meta.dirname, '../../docs/reference/kernels.md');
const BEGIN = '<!-- measured: npm run test:vm -- --write-docs -->';
const END = '<!-- end of what is measured -->';
const NOTHING = '–';

const byRelease = (a, b) => a.localeCompare(b, 'en', { numeric: true });

function cellsOf(line) {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** The committed table: column → row's title → cell. */
function readTable(text) {
  const part = text.slice(text.indexOf(BEGIN), text.indexOf(END));
  const columns = new Map();
  let names = [];
  for (const line of part.split('\n').filter((line) => line.startsWith('|'))) {
    const [title, ...cells] = cellsOf(line);
    if (title === 'Linux') names = cells;
    names.forEach((name, index) => {
      if (!columns.has(name)) columns.set(name, new Map());
      columns.get(name).set(title, cells[index]);
    });
  }
  return columns;
}

/**
 * @param measured column → { release, facts }
 * @param committed what stays of columns that were not measured
 */
function formatTable(measured, committed) {
  const columns = [...new Set([...committed.keys(), ...measured.keys()])].sort(byRelease);
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const cell = (column, title, value) =>
    measured.has(column) ? value(measured.get(column)) : (committed.get(column).get(title) ?? NOTHING);
  const releases = columns.map((column) => cell(column, 'release', ({ release }) => release));
  const rows = ROWS.map(([id, title]) =>
    title === undefined
      ? line([`**${id}**`, ...columns.map(() => '')])
      : line([title, ...columns.map((column) => cell(column, title, ({ facts }) => facts[id] ?? NOTHING))]),
  );
  const head = [line(['Linux', ...columns]), line(['---', ...columns.map(() => '---')])];
  return [BEGIN, '', ...head, line(['release', ...releases]), ...rows, '', END].join('\n');
}

export function writeTable(measured) {
  const text = readFileSync(FILE, 'utf8');
  const [before, after] = [text.slice(0, text.indexOf(BEGIN)), text.slice(text.indexOf(END) + END.length)];
  writeFileSync(FILE, before + formatTable(measured, readTable(text)) + after);
}

/** What stands behind a release's number: another architecture than x86-64, pages of another size. */
const kindOf = (column) => /-.*$/.exec(column)?.[0] ?? '';

/** The newest column of a release before `column`, of the same kind, for one that has none of its own yet. */
function columnBefore(columns, column) {
  return [...columns.keys()]
    .filter((name) => byRelease(name, column) < 0 && kindOf(name) === kindOf(column))
    .sort(byRelease)
    .at(-1);
}

/**
 * Cells that are not what was measured, in words. A column that was not measured now is left alone. A release without a
 * column is to be as the one before it of its kind, if there is one.
 *
 * @returns {{ column: string, id: string, text: string }[]}
 */
export function differences(measured) {
  const committed = readTable(readFileSync(FILE, 'utf8'));
  return [...measured].flatMap(([column, { release, facts }]) => {
    const name = committed.has(column) ? column : columnBefore(committed, column);
    const cells = committed.get(name);
    if (cells === undefined) return [];
    return ROWS.filter(([id, title]) => title !== undefined && facts[id] !== undefined)
      .filter(([id, title]) => cells.get(title) !== facts[id])
      .map(([id, title]) => {
        const said = `the table says ${cells.get(title)}${name === column ? '' : ` of ${name}`}`;
        return {
          column,
          id,
          text: `Linux ${column} (${release}), ${title}: ${said}, measured: ${facts[id]}`,
        };
      });
  });
}

/** Releases that were measured and have no column. */
export function newColumns(measured) {
  const committed = readTable(readFileSync(FILE, 'utf8'));
  const asked = [...measured].filter(([, { facts }]) => Object.keys(facts).length > 0);
  return asked.map(([column]) => column).filter((column) => !committed.has(column));
}
