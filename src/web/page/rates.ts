/** Rates: how much is written a second, how large the write working set is, and by whom. */
import { PAGE_SIZE } from '../../abi/index.js';
import { el, onFrame, pixelRatio, setText } from './dom.js';
import { clock, humanBytes, label, pagesText, rateText } from './format.js';
import { shownTime, TimeAxis } from './heat.js';
import { FONT } from './map.js';
import { type Band, bytesPerSecond, type Column, passes, type Store, secondsOf } from './store.js';
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
  readonly #tip = el('div', { className: 'tip', hidden: true, attributes: { 'aria-hidden': true } });
  readonly #theme: ThemeSwitch;
  readonly #text: (value: number) => string;
  readonly #axis = new TimeAxis();
  #series: readonly Series[] = [];
  #columns: readonly Column[] = [];
  #width = 0;
  #height = 0;
  #pointer: number | undefined;
  readonly #redraw = onFrame(() => this.#paint());

  constructor(theme: ThemeSwitch, title: string, text: (value: number) => string) {
    this.#theme = theme;
    this.#text = text;
    this.#canvas.setAttribute('aria-label', title);
    this.frame.append(this.#canvas, this.#tip);
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

  set(series: readonly Series[], columns: readonly Column[], fromMs: number, toMs: number): void {
    this.#series = series;
    this.#columns = columns;
    this.#axis.range = { fromMs, toMs: Math.max(toMs, fromMs + 1) };
    this.#redraw();
  }

  #resize(): void {
    const { clientWidth, clientHeight } = this.frame;
    if (clientWidth === 0 || clientHeight === 0) return;
    const ratio = pixelRatio();
    this.#width = clientWidth;
    this.#height = clientHeight;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    this.#axis.left = GUTTER;
    this.#axis.right = clientWidth - RIGHT;
    this.#paint();
  }

  #paint(): void {
    if (this.#width === 0 || this.frame.offsetParent === null) return;
    const context = this.#canvas.getContext('2d')!;
    const { palette } = this.#theme;
    const ratio = pixelRatio();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.#width, this.#height);
    const bottom = this.#height - AXIS;
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
    context.rect(GUTTER, 0, this.#axis.right - GUTTER, this.#height);
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
    this.#tip.hidden = column === undefined;
    if (column === undefined || x === undefined) return;
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
    this.#tip.replaceChildren(...lines.map((line) => el('div', { textContent: line })));
    const { offsetWidth } = this.#tip;
    this.#tip.style.left = `${x + 14 + offsetWidth > this.#width ? x - offsetWidth - 14 : x + 14}px`;
    this.#tip.style.top = `${TOP + 4}px`;
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
}

interface ColumnRow {
  readonly column: Column;
}

export class RatesView implements View {
  readonly title = 'Rates';
  readonly id = 'rates';
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #rate: Chart;
  readonly #set: Chart;
  readonly #setKeys = el('span', { className: 'line-keys' });
  readonly #message = el('p', { className: 'message inline', hidden: true });
  readonly #table: Table<RateRow>;
  readonly #times: Table<ColumnRow>;
  #seriesFor: readonly number[] = [];
  #setSeries: readonly Series[] = [];

  constructor(store: Store, theme: ThemeSwitch) {
    this.#store = store;
    this.#rate = new Chart(theme, 'Written a second over time; the same as numbers in the table', rateText);
    this.#set = new Chart(theme, 'Write working set over time; the same as numbers in the table', humanBytes);
    this.#table = new Table<RateRow>(
      'Written by mapping',
      [
        { title: 'Now', align: 'right', text: ({ now }) => rateText(now), order: ({ now }) => now },
        { title: 'Mean', align: 'right', text: ({ mean }) => rateText(mean), order: ({ mean }) => mean },
        { title: 'Peak', align: 'right', text: ({ peak }) => rateText(peak), order: ({ peak }) => peak },
        {
          title: 'Written',
          align: 'right',
          text: ({ pages }) => pagesText(pages),
          order: ({ pages }) => pages,
        },
        {
          title: 'Size',
          align: 'right',
          text: ({ band }) => humanBytes(band.model.end - band.model.start),
          order: ({ band }) => band.model.end - band.model.start,
        },
        {
          title: 'Mapping',
          wide: true,
          text: ({ band }) => label(band.model.name),
          order: ({ band }) => label(band.model.name),
        },
      ],
      { sortBy: 1, empty: 'Nothing was written' },
    );
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
          wide: true,
          text: ({ column }) =>
            this.#store.windows
              .map((window, index) => `${windowText(window)}: ${pagesText(column.workingSet?.[index] ?? 0)}`)
              .join(', '),
        },
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
          el('div', { className: 'card-head' }, el('h2', { textContent: 'Written a second' })),
          this.#rate.frame,
        ),
        el(
          'section',
          { className: 'card', attributes: { 'aria-label': 'Write working set' } },
          el(
            'div',
            { className: 'card-head' },
            el('h2', {
              textContent: 'Write working set',
              title:
                'How much memory was written at all in the last 1, 10 and 60 seconds: what a copy made that often has to take',
            }),
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
        this.#table.element,
      ),
    );
    store.on(['heat', 'filter', 'tracking', 'model'], () => this.draw());
  }

  /** Pages of a column in what the filter lets through. */
  #pages(column: Column): number {
    const { filter } = this.#store;
    if (filter.text === '' && filter.mappingKinds.size === 0) return column.pages;
    let pages = 0;
    for (const band of this.#store.bands.values()) {
      if (passes(filter, band.model)) pages += band.pages.get(column.number) ?? 0;
    }
    return pages;
  }

  draw(): void {
    if (this.element.hidden) return;
    const { columns, timeRange, tracking, windows, about } = this.#store;
    const why = tracking.state === 'off' ? `Writes are not tracked: ${tracking.why}` : '';
    this.#message.hidden = why === '';
    setText(this.#message, why);
    const live = about?.source === 'live';
    const young = timeRange.toMs - timeRange.fromMs < FIRST_SPAN_MS;
    const span = !live ? Number.POSITIVE_INFINITY : young ? FIRST_SPAN_MS : SPAN_MS;
    const { fromMs, toMs } = shownTime(timeRange, span, live);
    const shown = columns.filter(({ endMs }) => endMs > fromMs);
    const rate: Series = {
      name: 'Written',
      color: ({ palette }) => palette.accent,
      dash: [],
      fill: true,
      value: (column) => bytesPerSecond(this.#pages(column), [column]),
    };
    this.#rate.set([rate], shown, fromMs, toMs);
    if (this.#seriesFor !== windows) this.#makeSets(windows);
    this.#set.set(this.#setSeries, shown, fromMs, toMs);
    this.#drawTable(shown);
    if (!this.#times.element.hidden) this.#times.set([...shown].reverse().map((column) => ({ column })));
  }

  #makeSets(windows: readonly number[]): void {
    this.#seriesFor = windows;
    const kinds = [1, 0, 2];
    this.#setSeries = windows.map((window, index) => ({
      name: windowText(window),
      color: ({ palette }) => palette.kinds[kinds[index % kinds.length]!]!,
      dash: DASHES[index % DASHES.length]!,
      fill: false,
      value: (column) => {
        const pages = column.workingSet?.[index];
        return pages === undefined ? undefined : pages * PAGE_SIZE;
      },
    }));
    this.#setKeys.replaceChildren(
      ...windows.map((window, index) =>
        el('span', { className: `line-key line-${index % 3}` }, el('i'), windowText(window)),
      ),
    );
  }

  #drawTable(columns: readonly Column[]): void {
    const seconds = new Map(columns.map((column) => [column.number, secondsOf([column])]));
    const newest = columns.at(-1);
    const all = secondsOf(columns);
    const rows: RateRow[] = [];
    for (const band of this.#store.bands.values()) {
      if (!passes(this.#store.filter, band.model)) continue;
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
      rows.push({ band, now, mean: all === 0 ? 0 : (total * PAGE_SIZE) / all, peak, pages: total });
    }
    this.#table.set(rows);
  }
}

function windowText(milliseconds: number): string {
  return milliseconds < 60_000 ? `${milliseconds / 1000} s` : `${milliseconds / 60_000} min`;
}
