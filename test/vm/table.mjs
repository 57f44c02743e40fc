// The tables of docs/reference/kernels.md: written from what was measured, or compared with it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PROFILE_ROW, ROWS } from './matrix.mjs';

const FILE = join(import.meta.dirname, '../../docs/reference/kernels.md');
const BEGIN = '<!-- measured: npm run test:vm -- --write-docs -->';
/** Before the table of kernels that are not x86-64's: it has the rows that differ from x86-64's of the same release. */
const BEGIN_OTHERS = '<!-- measured: npm run test:vm -- --write-docs --facts --kernel 6.12-arm64 -->';
const END = '<!-- end of what is measured -->';
const NOTHING = '–';
const PROFILE_TITLE = ROWS.find(([id]) => id === PROFILE_ROW)[1];

const byRelease = (a, b) => a.localeCompare(b, 'en', { numeric: true });

function cellsOf(line) {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

/** What stands behind a release's number: another architecture than x86-64, pages of another size. */
const kindOf = (column) => /-.*$/.exec(column)?.[0] ?? '';

/** x86-64's column of the same release. */
const baseOf = (column) => column.slice(0, column.length - kindOf(column).length);

/** The page, in three parts: what is between a mark and the next end, and what is around it. */
function partsOf(text, begin) {
  const from = text.indexOf(begin) + begin.length;
  const to = text.indexOf(END, from);
  return [text.slice(0, from), text.slice(from, to), text.slice(to)];
}

/** The committed tables: column → row's title → cell. */
function readTables(text) {
  const columns = new Map();
  for (const begin of [BEGIN, BEGIN_OTHERS]) {
    let names = [];
    for (const line of partsOf(text, begin)[1]
      .split('\n')
      .filter((line) => line.startsWith('|'))) {
      const [title, ...cells] = cellsOf(line);
      if (title === 'Linux') names = cells;
      names.forEach((name, index) => {
        // What the second table leaves out is as in the first.
        if (!columns.has(name)) columns.set(name, new Map(columns.get(baseOf(name))));
        columns.get(name).set(title, cells[index]);
      });
    }
  }
  return columns;
}

/**
 * @param cells column → row's title → cell
 * @param columns which of them
 */
function formatTable(cells, columns) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const cellOf = (column, title) => cells.get(column)?.get(title) ?? NOTHING;
  // Where no profile was measured, nor was what profiles are made of: one row says so.
  const isAsked = (column, id) => !id.startsWith('fact-') || cellOf(column, PROFILE_TITLE) !== NOTHING;
  const isWanted = (id, title) =>
    columns.some(
      (column) =>
        kindOf(column) === '' ||
        (isAsked(column, id) && cellOf(column, title) !== cellOf(baseOf(column), title)),
    );
  const groups = [];
  for (const [id, title] of ROWS) {
    if (title === undefined) groups.push({ name: id, titles: [] });
    else if (isWanted(id, title)) groups.at(-1).titles.push(title);
  }
  return [
    ...['', '', line(['Linux', ...columns]), line(['---', ...columns.map(() => '---')])],
    line(['release', ...columns.map((column) => cellOf(column, 'release'))]),
    ...groups.flatMap(({ name, titles }) => [
      ...(titles.length === 0 ? [] : [line([`**${name}**`, ...columns.map(() => '')])]),
      ...titles.map((title) => line([title, ...columns.map((column) => cellOf(column, title))])),
    ]),
    ...['', ''],
  ].join('\n');
}

/** The page with what was measured; what it says of columns that were not measured stays. */
export function withMeasured(page, measured) {
  let text = page;
  const cells = readTables(text);
  for (const [column, { release, facts }] of measured) {
    const rows = ROWS.map(([id, title]) => [title, facts[id] ?? NOTHING]);
    cells.set(column, new Map([['release', release], ...rows]));
  }
  const columns = [...cells.keys()].sort(byRelease);
  for (const [begin, isOther] of [
    [BEGIN, false],
    [BEGIN_OTHERS, true],
  ]) {
    const [before, , after] = partsOf(text, begin);
    const wanted = columns.filter((column) => (kindOf(column) !== '') === isOther);
    text = before + formatTable(cells, wanted) + after;
  }
  return text;
}

export function writeTable(measured) {
  writeFileSync(FILE, withMeasured(readFileSync(FILE, 'utf8'), measured));
}

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
  const committed = readTables(readFileSync(FILE, 'utf8'));
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
  const committed = readTables(readFileSync(FILE, 'utf8'));
  const asked = [...measured].filter(([, { facts }]) => Object.keys(facts).length > 0);
  return asked.map(([column]) => column).filter((column) => !committed.has(column));
}
