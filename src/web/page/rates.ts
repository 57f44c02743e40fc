/** Rates: how much is written a second, how large the write working set is, and by whom. */
import { PAGE_SIZE } from '../../abi/index.js';
import { PAGE_KINDS, type PageKind } from '../../query/internal.js';
import { shownTime, TimeAxis } from './axis.js';
import { FONT, Picture, Tip } from './canvas.js';
import { el, onFrame, setAttribute, setText } from './dom.js';
import { clock, hex, humanBytes, label, pagesText, rateText, shortLabel, wordsOf } from './format.js';
import {
  type Band,
  bytesPerSecond,
  type Column,
  isFiltered,
  NO_FILTER,
  passes,
  type Store,
  secondsOf,
} from './store.js';
import { Table } from './table.js';
import type { ThemeSwitch } from './theme.js';
import type { View } from './view.js';

const GUTTER = 84;
const RIGHT = 14;
const AXIS = 24;
const TOP = 10;
const SPAN_MS = 180_000;
/** As long as there is no more than this, it has the whole width. */
const FIRST_SPAN_MS = 60_000;
/** Lines in one picture are told apart by dash as well. */
const DASHES: readonly (readonly number[])[] = [[], [6, 4], [2, 3]];
/** So many mappings have lines of their own: more could not be told apart. */
const LINES = 4;
/** Their colours, those of some kinds of pages; their dashes go round. */
const LINE_COLORS = ['huge', 'file', 'swapped', 'guard'].map((kind) => PAGE_KINDS.indexOf(kind as PageKind));
/** As many as the server tells of, at most. */
const MOST_SETS = 50;
const FIRST_WINDOW_MS = 10_000;

interface Series {
  readonly name: string;
  readonly color: (theme: ThemeSwitch) => string;
  readonly dash: readonly number[];
  readonly fill: boolean;
  value(column: Column): number | undefined;
}

/** A line chart over time, from 0 up. */
class Chart {
  readonly frame = el('div', { className: 'canvas-frame chart' });
  readonly #canvas = el('canvas', { attributes: { role: 'img' } });
  readonly #picture = new Picture(this.#canvas);
  readonly #tip = new Tip();
  readonly #theme: ThemeSwitch;
  readonly #text: (value: number) => string;
  readonly #axis = new TimeAxis();
  #series: readonly Series[] = [];
  #columns: readonly Column[] = [];
  #pointer: number | undefined;
  readonly #redraw = onFrame(() => this.#paint());

  constructor(theme: ThemeSwitch, title: string, text: (value: number) => string) {
    this.#theme = theme;
    this.#text = text;
    this.#canvas.setAttribute('aria-label', title);
    this.frame.append(this.#canvas, this.#tip.element);
    this.#canvas.addEventListener('pointermove', (event) => {
      this.#pointer = event.offsetX;
      this.#redraw();
    });
    this.#canvas.addEventListener('pointerleave', () => {
      this.#pointer = undefined;
      this.#redraw();
    });
    new ResizeObserver(() => this.#resize()).observe(this.frame);
    theme.onChange(() => this.#redraw());
  }

  describe(title: string): void {
    this.#canvas.setAttribute('aria-label', title);
  }

  set(series: readonly Series[], columns: readonly Column[], fromMs: number, toMs: number): void {
    this.#series = series;
    this.#columns = columns;
    this.#axis.range = { fromMs, toMs: Math.max(toMs, fromMs + 1) };
    this.#redraw();
  }

  #resize(): void {
    if (!this.#picture.fit(this.frame)) return;
    this.#axis.left = GUTTER;
    this.#axis.right = this.#picture.width - RIGHT;
    this.#paint();
  }

  #paint(): void {
    if (this.#picture.width === 0 || this.frame.offsetParent === null) return;
    const context = this.#picture.draw();
    const { palette } = this.#theme;
    const bottom = this.#picture.height - AXIS;
    let most = 0;
    for (const column of this.#columns) {
      for (const series of this.#series) most = Math.max(most, series.value(column) ?? 0);
    }
    const step = niceStep(most / 4);
    const top = Math.max(step, Math.ceil(most / step) * step);
    const y = (value: number) => bottom - (value / top) * (bottom - TOP);
    context.font = FONT;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    for (let value = 0; value <= top; value += step) {
      const at = Math.round(y(value)) + 0.5;
      context.strokeStyle = palette.line;
      context.beginPath();
      context.moveTo(GUTTER, at);
      context.lineTo(this.#axis.right, at);
      context.stroke();
      context.fillStyle = palette.dim;
      context.fillText(this.#text(value), GUTTER - 10, at);
    }
    this.#axis.draw(context, bottom, this.#theme);
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, this.#axis.right - GUTTER, this.#picture.height);
    context.clip();
    for (const series of this.#series) this.#paintSeries(context, series, y, bottom);
    context.restore();
    this.#showTip(context, bottom);
  }

  #paintSeries(
    context: CanvasRenderingContext2D,
    series: Series,
    y: (value: number) => number,
    bottom: number,
  ): void {
    const color = series.color(this.#theme);
    const points: [number, number][] = [];
    for (const column of this.#columns) {
      const value = series.value(column);
      if (value === undefined) continue;
      // A step for each interval: what lies between two measurements was not measured.
      points.push([this.#axis.x(column.startMs), y(value)], [this.#axis.x(column.endMs), y(value)]);
    }
    if (points.length === 0) return;
    context.beginPath();
    points.forEach(([x, at], index) => {
      if (index === 0) context.moveTo(x, at);
      else context.lineTo(x, at);
    });
    context.strokeStyle = color;
    context.lineWidth = 2;
    context.lineJoin = 'round';
    context.setLineDash([...series.dash]);
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 1;
    if (!series.fill) return;
    context.lineTo(points.at(-1)![0], bottom);
    context.lineTo(points[0]![0], bottom);
    context.globalAlpha = 0.16;
    context.fillStyle = color;
    context.fill();
    context.globalAlpha = 1;
  }

  #showTip(context: CanvasRenderingContext2D, bottom: number): void {
    const x = this.#pointer;
    const time = x === undefined || x < GUTTER ? undefined : this.#axis.time(x);
    const column = this.#columns.find(
      ({ startMs, endMs }) => time !== undefined && startMs <= time && time < endMs,
    );
    if (column === undefined || x === undefined) {
      this.#tip.hide();
      return;
    }
    context.strokeStyle = this.#theme.palette.dim;
    context.beginPath();
    context.moveTo(Math.round(x) + 0.5, TOP);
    context.lineTo(Math.round(x) + 0.5, bottom);
    context.stroke();
    const lines = [`${clock(column.startMs, true)} to ${clock(column.endMs, true)}`];
    for (const series of this.#series) {
      const value = series.value(column);
      if (value !== undefined) lines.push(`${series.name}: ${this.#text(value)}`);
    }
    this.#tip.show(lines, (width) => ({
      x: x + 14 + width > this.#picture.width ? x - width - 14 : x + 14,
      y: TOP + 4,
    }));
  }
}

/** The next round number of bytes: 1, 2 or 5 times ten or a hundred of its binary unit. */
export function niceStep(least: number): number {
  if (!(least > 0)) return 1024;
  let unit = 1;
  while (least / unit > 1000) unit *= 1024;
  for (const step of [1, 2, 5, 10, 20, 50, 100, 200, 256, 512, 1024]) {
    if (step * unit >= least) return step * unit;
  }
  return 1024 * unit;
}

interface RateRow {
  readonly band: Band;
  readonly now: number;
  readonly mean: number;
  readonly peak: number;
  readonly pages: number;
  /** Pages of each window; undefined where it is not told, and then no more than that of the last that is. */
  readonly sets: readonly number[] | undefined;
  /** Which line is its own. */
  readonly line: number | undefined;
}

interface ColumnRow {
  readonly column: Column;
}

/** A line's sample, as it stands in keys and in the table. */
function lineSample(line: number): HTMLElement {
  return el('i', { className: `line-sample line-${line}`, attributes: { 'aria-hidden': true } });
}

export class RatesView implements View {
  readonly title = 'Rates';
  readonly id = 'rates';
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #rate: Chart;
  readonly #set: Chart;
  readonly #keys = el('span', { className: 'line-keys' });
  readonly #setKeys = el('span', { className: 'line-keys' });
  readonly #rateTitle = el('h2');
  readonly #setTitle = el('h2', {
    title:
      'The distinct memory that was written within this time. A snapshot that is taken this often has to copy that much',
  });
  readonly #choices = el('span', {
    className: 'buttons',
    attributes: { role: 'group', 'aria-label': 'Window of the working set' },
  });
  readonly #message = el('p', { className: 'message inline', hidden: true });
  readonly #tables = el('div', { className: 'tables' });
  #table: Table<RateRow> | undefined;
  readonly #times: Table<ColumnRow>;
  #windows: readonly number[] = [];
  /** What the table was made for. */
  #begun = '';
  /** Index of the window that is shown by mapping; undefined for all windows, of all mappings together. */
  #window: number | undefined;
  /** The bands that have a line, by its number: they keep it as long as they are among the first. */
  #lines: (number | undefined)[] = [];

  constructor(store: Store, theme: ThemeSwitch) {
    this.#store = store;
    this.#rate = new Chart(
      theme,
      'Written a second over time, in total and by the mappings with the most writes. The tables have the same numbers',
      rateText,
    );
    this.#set = new Chart(theme, '', humanBytes);
    this.#times = new Table<ColumnRow>(
      'Written and write working set, interval by interval, newest first',
      [
        { title: 'From', align: 'right', text: ({ column }) => clock(column.startMs, true) },
        { title: 'To', align: 'right', text: ({ column }) => clock(column.endMs, true) },
        { title: 'Written', align: 'right', text: ({ column }) => pagesText(this.#pages(column)) },
        {
          title: 'Rate',
          align: 'right',
          text: ({ column }) => rateText(bytesPerSecond(this.#pages(column), [column])),
        },
        {
          title: 'Working sets',
          text: ({ column }) =>
            this.#store.windows
              .map((window, index) => `${windowText(window)}: ${pagesText(column.workingSet?.[index] ?? 0)}`)
              .join(', '),
        },
        { title: 'Mappings with the most writes', wide: true, text: ({ column }) => this.#linesText(column) },
      ],
      { empty: 'No interval yet' },
    );
    this.#times.element.hidden = true;
    const toggle = el('button', {
      type: 'button',
      textContent: 'As table',
      attributes: { 'aria-expanded': false },
    });
    toggle.addEventListener('click', () => {
      this.#times.element.hidden = !this.#times.element.hidden;
      toggle.setAttribute('aria-expanded', String(!this.#times.element.hidden));
      this.draw();
    });
    this.element = el(
      'div',
      { className: 'view rates' },
      this.#message,
      el(
        'div',
        { className: 'pair' },
        el(
          'section',
          { className: 'card', attributes: { 'aria-label': 'Written a second' } },
          el('div', { className: 'card-head' }, this.#rateTitle, this.#keys),
          this.#rate.frame,
        ),
        el(
          'section',
          { className: 'card', attributes: { 'aria-label': 'Write working set' } },
          el(
            'div',
            { className: 'card-head' },
            this.#setTitle,
            el('span', { className: 'spring' }),
            this.#choices,
            this.#setKeys,
          ),
          this.#set.frame,
        ),
      ),
      el(
        'section',
        { className: 'card grow', attributes: { 'aria-label': 'By mapping' } },
        el(
          'div',
          { className: 'card-head' },
          el('h2', { textContent: 'By mapping' }),
          el('span', { className: 'spring' }),
          toggle,
        ),
        this.#times.element,
        this.#tables,
      ),
    );
    store.on(['heat', 'filter', 'tracking', 'model'], () => this.draw());
  }

  /** Whether the working set is known mapping by mapping: recordings have it for the process only. */
  get #hasSets(): boolean {
    return this.#store.about?.source !== 'recording' && this.#windows.length > 0;
  }

  /** The table, and the choice of windows, for the windows that there are. */
  #begin(windows: readonly number[]): void {
    this.#windows = windows;
    const first = windows.indexOf(FIRST_WINDOW_MS);
    this.#window = this.#hasSets && first >= 0 ? first : undefined;
    const sets = this.#hasSets ? windows : [];
    this.#table = new Table<RateRow>(
      `${wordsOf(this.#store.about).title} by mapping`,
      [
        { title: 'Now', align: 'right', text: ({ now }) => rateText(now), order: ({ now }) => now },
        { title: 'Mean', align: 'right', text: ({ mean }) => rateText(mean), order: ({ mean }) => mean },
        { title: 'Peak', align: 'right', text: ({ peak }) => rateText(peak), order: ({ peak }) => peak },
        {
          title: wordsOf(this.#store.about).title,
          align: 'right',
          text: ({ pages }) => pagesText(pages),
          order: ({ pages }) => pages,
        },
        ...sets.map((window, index) => ({
          title: `Set, ${windowText(window)}`,
          align: 'right' as const,
          text: ({ sets }: RateRow) => this.#setText(sets, index),
          order: ({ sets }: RateRow) => sets?.[index] ?? -1,
        })),
        {
          title: 'Size',
          align: 'right',
          text: ({ band }) => humanBytes(band.model.end - band.model.start),
          order: ({ band }) => band.model.end - band.model.start,
        },
        {
          title: 'Address',
          mono: true,
          text: ({ band }) => hex(band.model.start),
          order: ({ band }) => band.model.start,
        },
        {
          title: 'Mapping',
          wide: true,
          text: ({ band }) => label(this.#store.owned(band.model)),
          order: ({ band }) => label(this.#store.owned(band.model)),
          draw: ({ band, line }, cell) => drawName(label(this.#store.owned(band.model)), line, cell),
        },
      ],
      { sortBy: 1, empty: 'No mapping yet' },
    );
    this.#tables.replaceChildren(this.#table.element);
    const choices = [...sets.keys(), undefined].map((index) => {
      const text = index === undefined ? 'All' : windowText(windows[index]!);
      const button = el('button', { type: 'button', textContent: text });
      button.title =
        index === undefined
          ? 'All windows, of all mappings together'
          : `Distinct memory ${wordsOf(this.#store.about).done} in ${windowText(windows[index]!)}, by mapping`;
      button.addEventListener('click', () => {
        this.#window = index;
        this.draw();
      });
      setAttribute(button, 'data-window', index === undefined ? 'all' : index);
      return button;
    });
    this.#choices.replaceChildren(...choices);
    this.#choices.hidden = sets.length === 0;
  }

  /** What is not told is no more than the least that is. */
  #setText(sets: readonly number[] | undefined, window: number): string {
    if (sets !== undefined) return pagesText(sets[window]!);
    const told = this.#store.columns.at(-1)?.byBand ?? [];
    if (told.length < MOST_SETS) return pagesText(0);
    return `≤ ${pagesText(told.at(-1)!.at(-1)!)}`;
  }

  /** Pages of a column in what the filter lets through. */
  #pages(column: Column): number {
    const { filter } = this.#store;
    if (!isFiltered({ ...filter, pageKinds: NO_FILTER.pageKinds })) return column.pages;
    let pages = 0;
    for (const band of this.#store.bands.values()) {
      if (passes(filter, this.#store.owned(band.model))) pages += band.pages.get(column.number) ?? 0;
    }
    return pages;
  }

  draw(): void {
    if (this.element.hidden) return;
    const { columns, timeRange, tracking, windows, about, filter } = this.#store;
    const words = wordsOf(about);
    setText(this.#rateTitle, `${words.title} a second`);
    const why = tracking.state === 'off' ? `${words.tracked} are not tracked: ${tracking.why}` : '';
    this.#message.hidden = why === '';
    setText(this.#message, why);
    const begun = `${windows} ${about?.source} ${words.title}`;
    if (this.#begun !== begun || this.#table === undefined) {
      this.#begun = begun;
      this.#begin(windows);
    }
    const live = about?.source === 'live';
    const young = timeRange.toMs - timeRange.fromMs < FIRST_SPAN_MS;
    const span = !live ? Number.POSITIVE_INFINITY : young ? FIRST_SPAN_MS : SPAN_MS;
    const { fromMs, toMs } = shownTime(timeRange, span, live);
    const shown = columns.filter(({ endMs }) => endMs > fromMs);
    const rows = this.#rows(shown);
    const all: Series = {
      name: isFiltered(filter) ? 'All shown' : 'All',
      color: ({ palette }) => palette.accent,
      dash: [],
      fill: true,
      value: (column) => bytesPerSecond(this.#pages(column), [column]),
    };
    const mine = (value: (band: Band, column: Column) => number | undefined): Series[] =>
      this.#withLines().map(({ band, line }) => ({
        name: this.#lineName(band),
        color: ({ palette }) => palette.kinds[LINE_COLORS[line]!]!,
        dash: DASHES[line % DASHES.length]!,
        fill: false,
        value: (column) => value(band, column),
      }));
    const rates = mine((band, column) => bytesPerSecond(band.pages.get(column.number) ?? 0, [column]));
    this.#rate.set([all, ...rates], shown, fromMs, toMs);
    this.#keys.replaceChildren(...this.#lineKeys(all.name));
    const window = this.#window;
    if (window === undefined) this.#set.set(allWindows(windows), shown, fromMs, toMs);
    else {
      const whole: Series = { ...all, name: 'All', value: ({ workingSet }) => bytesOf(workingSet?.[window]) };
      const sets = mine((band, column) => bytesOf(this.#setOf(band, column)?.[window]));
      // All of it is known, and each mapping, but not what a filter lets through.
      this.#set.set(isFiltered(filter) ? sets : [whole, ...sets], shown, fromMs, toMs);
    }
    this.#drawChoice(window);
    this.#table!.set(rows);
    if (!this.#times.element.hidden) this.#times.set([...shown].reverse().map((column) => ({ column })));
  }

  #drawChoice(window: number | undefined): void {
    const names = this.#windows.map(windowText).join(', ');
    const { set } = wordsOf(this.#store.about);
    const title = window === undefined ? set : `${set}, ${windowText(this.#windows[window]!)}`;
    setText(this.#setTitle, title);
    const of = window === undefined ? `of all mappings, in ${names}` : 'in total and by mapping';
    this.#set.describe(`${title} over time, ${of}. The tables have the same numbers`);
    for (const button of this.#choices.children) {
      setAttribute(button, 'aria-pressed', button.getAttribute('data-window') === String(window ?? 'all'));
    }
    this.#setKeys.replaceChildren(
      ...(window === undefined
        ? this.#windows.map((milliseconds, index) =>
            el(
              'span',
              { className: `line-key window window-${index % 3}` },
              el('i'),
              windowText(milliseconds),
            ),
          )
        : this.#lineKeys(isFiltered(this.#store.filter) ? undefined : 'All')),
    );
  }

  #withLines(): { band: Band; line: number }[] {
    return this.#lines.flatMap((id, line) => {
      const band = id === undefined ? undefined : this.#store.bands.get(id);
      return band === undefined ? [] : [{ band, line }];
    });
  }

  #lineKeys(all: string | undefined): HTMLElement[] {
    return [
      ...(all === undefined ? [] : [el('span', { className: 'line-key all' }, el('i'), all)]),
      ...this.#withLines().map(({ band, line }) =>
        el(
          'span',
          {
            className: 'line-key',
            title: `${hex(band.model.start)} ${label(this.#store.owned(band.model))}`,
          },
          lineSample(line),
          el('span', { className: 'line-name', textContent: this.#lineName(band) }),
        ),
      ),
    ];
  }

  /** Its name, and where several have that, its address as well. */
  #lineName({ model }: Band): string {
    const name = shortLabel(this.#store.owned(model));
    const same = this.#withLines().filter(({ band }) => shortLabel(this.#store.owned(band.model)) === name);
    // The last digits are what differs.
    return same.length > 1 ? `${name} …${hex(model.start).slice(-7)}` : name;
  }

  /** What the lines show of an interval, in words. */
  #linesText(column: Column): string {
    return this.#withLines()
      .map(({ band }) => {
        const rate = rateText(bytesPerSecond(band.pages.get(column.number) ?? 0, [column]));
        const sets = this.#setOf(band, column);
        const told = this.#windows.map(
          (window, index) => `${windowText(window)} ${pagesText(sets?.[index] ?? 0)}`,
        );
        return `${this.#lineName(band)}: ${rate}${sets === undefined ? '' : ` (set in ${told.join(', ')})`}`;
      })
      .join('; ');
  }

  /** Pages of each window; undefined where it is not told. */
  #setOf({ model }: Band, column: Column): readonly number[] | undefined {
    const found = column.byBand?.find(([id]) => id === model.id);
    if (found !== undefined) return found.slice(1);
    const { byBand } = column;
    // Nothing was written in the longest window, as long as there is room to tell of all.
    return byBand !== undefined && byBand.length < MOST_SETS ? this.#windows.map(() => 0) : undefined;
  }

  #rows(columns: readonly Column[]): RateRow[] {
    const seconds = new Map(columns.map((column) => [column.number, secondsOf([column])]));
    const newest = columns.at(-1);
    const all = secondsOf(columns);
    const rows: Omit<RateRow, 'line'>[] = [];
    for (const band of this.#store.bands.values()) {
      if (!passes(this.#store.filter, this.#store.owned(band.model))) continue;
      let total = 0;
      let peak = 0;
      for (const [column, pages] of band.pages) {
        const length = seconds.get(column);
        if (length === undefined) continue;
        total += pages;
        peak = Math.max(peak, (pages * PAGE_SIZE) / length);
      }
      if (total === 0) continue;
      const now = newest === undefined ? 0 : bytesPerSecond(band.pages.get(newest.number) ?? 0, [newest]);
      const sets = newest === undefined ? undefined : this.#setOf(band, newest);
      rows.push({ band, now, mean: all === 0 ? 0 : (total * PAGE_SIZE) / all, peak, pages: total, sets });
    }
    const first = [...rows].sort((a, b) => b.pages - a.pages).slice(0, LINES);
    this.#assignLines(first.map(({ band }) => band.model.id));
    return rows.map((row) => {
      const line = this.#lines.indexOf(row.band.model.id);
      return { ...row, line: line < 0 ? undefined : line };
    });
  }

  /** Who had a line keeps it, so that colours do not jump. */
  #assignLines(ids: readonly number[]): void {
    const wanted = new Set(ids);
    const lines = Array.from({ length: LINES }, (_, line) => {
      const id = this.#lines[line];
      return id !== undefined && wanted.delete(id) ? id : undefined;
    });
    for (const id of wanted) lines[lines.indexOf(undefined)] = id;
    this.#lines = lines;
  }
}

function drawName(name: string, line: number | undefined, cell: HTMLElement): void {
  const text = cell.lastElementChild ?? cell.appendChild(el('span'));
  setText(text, name);
  const key = cell.querySelector('i');
  const className = line === undefined ? '' : `line-sample line-${line}`;
  if (key === null && line !== undefined) cell.prepend(lineSample(line));
  else if (key !== null && line === undefined) key.remove();
  else if (key !== null && key.className !== className) key.className = className;
}

function bytesOf(pages: number | undefined): number | undefined {
  return pages === undefined ? undefined : pages * PAGE_SIZE;
}

/** Of all mappings together, a line for each window. */
function allWindows(windows: readonly number[]): Series[] {
  const kinds = (['anonymous', 'huge', 'file'] as const).map((kind) => PAGE_KINDS.indexOf(kind));
  return windows.map((window, index) => ({
    name: windowText(window),
    color: ({ palette }) => palette.kinds[kinds[index % kinds.length]!]!,
    dash: DASHES[index % DASHES.length]!,
    fill: false,
    value: ({ workingSet }) => bytesOf(workingSet?.[index]),
  }));
}

function windowText(milliseconds: number): string {
  return `${milliseconds / 1000} s`;
}
