// The table of all figures, as Markdown, and its place in the documentation.
import { readFileSync, writeFileSync } from 'node:fs';

const BEGIN = '<!-- written by `npm run bench -- --write-docs`: begin -->';
const END = '<!-- end -->';

const number = (value) => String(Number(value.toPrecision(3)));

/** @param {{ name: string, value: number, unit: string, limit?: number, better: string, ok: boolean, benchmark: string }[]} rows */
export function table(rows) {
  const lines = rows.map(({ name, value, unit, limit, better, ok, benchmark }) => {
    const promised =
      limit === undefined ? '' : `${better === 'lower' ? 'at most' : 'at least'} ${limit} ${unit}`;
    return `| ${benchmark} | ${name.replaceAll('|', '\\|')} | ${number(value)} ${unit} | ${promised} | ${ok ? '' : 'missed'} |`;
  });
  return ['| benchmark | what | figure | promised | |', '|---|---|---|---|---|', ...lines].join('\n');
}

/** Puts `text` between the marks of a file. */
export function insertBetween(path, text) {
  const whole = readFileSync(path, 'utf8');
  const [from, to] = [whole.indexOf(BEGIN), whole.indexOf(END)];
  if (from < 0 || to < from)
    throw new Error(`Cannot write the figures: ${path} has no place marked for them`);
  writeFileSync(path, `${whole.slice(0, from + BEGIN.length)}\n\n${text}\n\n${whole.slice(to)}`);
}
