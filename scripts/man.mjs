// Manual pages from docs/reference/cli.md: pmscan(1), and one for each command. Knows as much Markdown as is used there.

/** What begins a request at the start of a line, and what is an escape anywhere. */
const roff = (text) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(
      /[^\0-~]/gu,
      (character) => `\\[u${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}]`,
    );
const atStart = (line) => (/^[.']/.test(line) ? `\\&${line}` : line);

/** Text with its marks: code and bold text bold, links as their text. */
function inline(markdown) {
  const pieces = markdown.split(/(`[^`]+`)/);
  return pieces
    .map((piece) =>
      /^`.+`$/.test(piece)
        ? `\\fB${roff(piece.slice(1, -1))}\\fR`
        : roff(piece.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'))
            .replace(/\*\*(.+?)\*\*/g, '\\fB$1\\fR')
            .replace(/\\\|/g, '|'),
    )
    .join('');
}

/** The cells of a table's row; a bar in code is written `\|`. */
const cells = (row) =>
  row
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));

/** A table as a list of terms: each of its first cells with what stands behind it. */
function table(rows) {
  return rows.slice(2).flatMap((row) => {
    const [term, ...rest] = cells(row);
    return [
      '.TP',
      atStart(inline(term)),
      atStart(inline(rest.filter((cell) => cell !== '').join('; ')) || '\\&'),
    ];
  });
}

/** Lines that belong together: a paragraph, a list, a table, code. */
function blocks(markdown) {
  const found = [];
  let fence = false;
  for (const line of markdown.split('\n')) {
    const last = found.at(-1);
    if (line.startsWith('```')) {
      fence = !fence;
      if (fence) found.push({ kind: 'code', lines: [] });
      else found.push({ kind: 'end', lines: [] });
    } else if (fence) last.lines.push(line);
    else if (line === '') found.push({ kind: 'end', lines: [] });
    else {
      const kind = line.startsWith('|') ? 'table' : line.startsWith('- ') ? 'item' : 'text';
      const goesOn = last?.kind === kind && kind !== 'item';
      if (goesOn || (last?.kind === 'item' && kind === 'text')) last.lines.push(line);
      else found.push({ kind, lines: [line] });
    }
  }
  return found.filter(({ kind }) => kind !== 'end');
}

function body(markdown) {
  return blocks(markdown).flatMap(({ kind, lines }) => {
    const joined = lines.map((line) => line.trim()).join(' ');
    if (kind === 'code') return ['.PP', '.nf', ...lines.map((line) => atStart(roff(line))), '.fi'];
    if (kind === 'table') return table(lines);
    if (kind === 'item') return ['.IP \\(bu 2', atStart(inline(joined.replace(/^- /, '')))];
    return ['.PP', atStart(inline(joined))];
  });
}

/** The chapters of a page of documentation, by their headings. */
function chapters(markdown) {
  return markdown
    .split(/^## /m)
    .slice(1)
    .map((chapter) => {
      const end = chapter.indexOf('\n');
      return { heading: chapter.slice(0, end), text: chapter.slice(end + 1).trim() };
    });
}

function page(name, version, what, parts) {
  const head = [`.TH ${name.toUpperCase()} 1 "" "pagemap\\-scan ${version}" "pmscan"`];
  const lines = [...head, '.SH NAME', `${roff(name)} \\- ${roff(what)}`];
  for (const [title, content] of parts) lines.push(`.SH ${title}`, ...content);
  return `${lines.join('\n')}\n`;
}

/** What a command is, in a line: the beginning of its chapter. */
const summary = (text) =>
  text
    .replace(/\s*[.:]\s[\s\S]*$|\n\n[\s\S]*$/, '')
    .replaceAll('\n', ' ')
    .replace(/ \(\[[^\]]*\]\([^)]*\).*$|[`*]|\[([^\]]*)\]\([^)]*\)/g, '$1');

/**
 * @param {string} markdown docs/reference/cli.md
 * @param {string} version
 * @returns {Map<string, string>} pages by their file names
 */
export function manualPages(markdown, version) {
  const all = chapters(markdown);
  const commands = all
    .map(({ heading, text }) => ({ name: /^`pmscan (\w+)/.exec(heading)?.[1], heading, text }))
    .filter(({ name }) => name !== undefined);
  const common = all.filter(({ heading }) => !heading.startsWith('`'));
  const list = commands.flatMap(({ name, text }) => [
    '.TP',
    `.BR pmscan\\-${name} (1)`,
    atStart(roff(summary(text))),
  ]);
  const pages = new Map();
  pages.set(
    'pmscan.1',
    page('pmscan', version, 'the state of every page of a process, and the pages that were written', [
      ['SYNOPSIS', ['\\fBpmscan\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]']],
      ['COMMANDS', list],
      ...common.map(({ heading, text }) => [heading.toUpperCase(), body(text)]),
    ]),
  );
  for (const { name, heading, text } of commands) {
    const synopsis = [...heading.matchAll(/`([^`]+)`/g)].flatMap(([, usage]) => [
      '.PP',
      `\\fB${roff(usage)}\\fR`,
    ]);
    pages.set(
      `pmscan-${name}.1`,
      page(`pmscan-${name}`, version, summary(text), [
        ['SYNOPSIS', synopsis.slice(1)],
        ['DESCRIPTION', body(text)],
        ['SEE ALSO', ['.BR pmscan (1)']],
      ]),
    );
  }
  return pages;
}
