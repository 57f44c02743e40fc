/** Tables that keep their place: cells are changed, not made anew, and a long one grows on demand. */
import { el, hasSelection, setAttribute, setText } from './dom.js';

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'right' | undefined;
  /** Addresses and the like. */
  readonly mono?: boolean | undefined;
  /** Takes what room there is, and is cut off where it is too long; its full text is the tooltip. */
  readonly wide?: boolean | undefined;
  text(row: Row): string;
  /** Given, the column can be sorted by it. */
  order?(row: Row): number | string;
  /** In place of the text, for sighted readers; the text is still there for all others. */
  draw?(row: Row, cell: HTMLElement): void;
}

const STEP = 100;

export class Table<Row> {
  readonly element: HTMLElement;
  readonly #columns: readonly Column<Row>[];
  readonly #body = el('tbody');
  readonly #more = el('button', { className: 'more', type: 'button' });
  readonly #empty = el('p', { className: 'empty' });
  readonly #heads: HTMLTableCellElement[];
  readonly #onPick: ((row: Row) => void) | undefined;
  #sortBy: number | undefined;
  #descending = true;
  #rows: readonly Row[] = [];
  #shown: Row[] = [];
  #limit = STEP;

  /**
   * @param sortBy index of the column that is sorted by to begin with; without it rows stay as they come
   * @param onPick makes rows buttons
   */
  constructor(
    caption: string,
    columns: readonly Column<Row>[],
    options: { sortBy?: number; descending?: boolean; empty?: string; onPick?: (row: Row) => void } = {},
  ) {
    this.#columns = columns;
    this.#sortBy = options.sortBy;
    this.#descending = options.descending ?? true;
    this.#onPick = options.onPick;
    this.#empty.textContent = options.empty ?? 'Nothing to show';
    this.#heads = columns.map((column, index) => this.#head(column, index));
    this.element = el(
      'div',
      { className: 'table', tabIndex: -1 },
      el(
        'table',
        null,
        el('caption', { className: 'unseen', textContent: caption }),
        el('thead', null, el('tr', null, ...this.#heads)),
        this.#body,
      ),
      this.#empty,
      this.#more,
    );
    this.#more.addEventListener('click', () => {
      this.#limit += STEP * 4;
      this.#draw();
    });
    this.#body.addEventListener('click', (event) => {
      const row = (event.target as Element).closest('tr');
      if (row !== null && getSelection()?.isCollapsed !== false) this.#pick(row);
    });
    this.#body.addEventListener('keydown', (event) => {
      const row = (event.target as Element).closest('tr');
      if (row === null || this.#onPick === undefined) return;
      if (event.key === 'Enter' || event.key === ' ') {
        event.preventDefault();
        this.#pick(row);
      } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
        const next = event.key === 'ArrowDown' ? row.nextElementSibling : row.previousElementSibling;
        if (next !== null) {
          event.preventDefault();
          (next as HTMLElement).focus();
        }
      }
    });
  }

  #pick(row: HTMLTableRowElement): void {
    const picked = this.#shown[row.sectionRowIndex];
    if (picked !== undefined) this.#onPick?.(picked);
  }

  #head(column: Column<Row>, index: number): HTMLTableCellElement {
    const head = el('th', { className: classOf(column), attributes: { scope: 'col' } });
    if (column.order === undefined) {
      head.textContent = column.title;
      return head;
    }
    const button = el('button', { type: 'button', textContent: column.title });
    button.addEventListener('click', () => {
      if (this.#sortBy === index) this.#descending = !this.#descending;
      else {
        this.#sortBy = index;
        this.#descending = column.align === 'right';
      }
      this.#draw();
    });
    head.append(button);
    return head;
  }

  /** Another title for a column. */
  retitle(column: number, title: string): void {
    const head = this.#heads[column]!;
    setText((head.firstElementChild as HTMLElement | null) ?? head, title);
  }

  set(rows: readonly Row[]): void {
    this.#rows = rows;
    this.#draw();
  }

  #sorted(): readonly Row[] {
    const order = this.#sortBy === undefined ? undefined : this.#columns[this.#sortBy]?.order;
    if (order === undefined) return this.#rows;
    const sign = this.#descending ? -1 : 1;
    return this.#rows
      .map((row) => [order(row), row] as const)
      .sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0))
      .map(([, row]) => row);
  }

  #draw(): void {
    if (hasSelection(this.#body)) return;
    this.#heads.forEach((head, index) => {
      if (this.#columns[index]!.order === undefined) return;
      const sorted = index === this.#sortBy ? (this.#descending ? 'descending' : 'ascending') : undefined;
      setAttribute(head, 'aria-sort', sorted);
    });
    this.#shown = this.#sorted().slice(0, this.#limit);
    const { rows } = this.#body;
    while (rows.length > this.#shown.length) rows[rows.length - 1]!.remove();
    this.#shown.forEach((row, index) => {
      const line = rows[index] ?? this.#body.appendChild(this.#line());
      this.#columns.forEach((column, at) => {
        const cell = line.cells[at]!;
        const text = column.text(row);
        if (column.draw === undefined) setText(cell, text);
        else {
          column.draw(row, cell);
          setAttribute(cell, 'aria-label', text);
        }
        if (column.wide) cell.title = text;
      });
    });
    this.#empty.hidden = this.#rows.length > 0;
    const rest = this.#rows.length - this.#shown.length;
    this.#more.hidden = rest <= 0;
    this.#more.textContent = `Show more: ${rest.toLocaleString('en-US')} of ${this.#rows.length.toLocaleString('en-US')} are not shown`;
  }

  #line(): HTMLTableRowElement {
    const line = el('tr', this.#onPick === undefined ? null : { tabIndex: 0, className: 'pickable' });
    for (const column of this.#columns) line.append(el('td', { className: classOf(column) }));
    return line;
  }
}

function classOf({ align, mono, wide }: Pick<Column<never>, 'align' | 'mono' | 'wide'>): string {
  return [align === 'right' && 'right', mono && 'mono', wide && 'wide'].filter(Boolean).join(' ');
}
