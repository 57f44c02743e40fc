/** Heat over time: what was written, by address from top to bottom of each band and by time from left to right. */
import { PAGE_SIZE } from '../../abi/index.js';
import { shownTime, TimeAxis } from './axis.js';
import { cut, FONT, MONO, Picture, Tip } from './canvas.js';
import { el, onFrame, pixelRatio, setText } from './dom.js';
import {
  clock,
  hex,
  humanBytes,
  label,
  pagesText,
  percent,
  rateText,
  shortLabel,
  wordsOf,
} from './format.js';
import {
  type Band,
  bytesPerSecond,
  type Column,
  type HotRange,
  hottestRanges,
  passes,
  type Store,
  secondsOf,
} from './store.js';
import { Table } from './table.js';
import { RAMP_STEPS, type ThemeSwitch } from './theme.js';
import type { View } from './view.js';

const GUTTER = 236;
const AXIS = 24;
const BAND_GAP = 6;
const LEAST_BAND = 20;
const RIGHT = 10;
const SPANS_MS = [60_000, 180_000, 600_000] as const;

interface Strip {
  readonly band: Band;
  readonly top: number;
  readonly height: number;
  readonly firstBucket: number;
  readonly buckets: number;
}

export class HeatView implements View {
  readonly title = 'Heat over time';
  readonly id = 'heat';
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #theme: ThemeSwitch;
  readonly #canvas = el('canvas', {
    tabIndex: 0,
    attributes: {
      role: 'application',
      'aria-label': 'Heat over time',
      'aria-describedby': 'heat-help heat-state',
    },
  });
  readonly #picture = new Picture(this.#canvas);
  readonly #spacer = el('div', { className: 'spacer' });
  readonly #scroller = el('div', { className: 'scroller', tabIndex: -1 });
  readonly #frame = el('div', { className: 'canvas-frame' });
  readonly #tip = new Tip();
  readonly #state = el('p', { id: 'heat-state', className: 'unseen', attributes: { 'aria-live': 'polite' } });
  readonly #legend = el('canvas', { className: 'ramp', attributes: { 'aria-hidden': true } });
  readonly #least = el('span', { className: 'number' });
  readonly #most = el('span', { className: 'number' });
  readonly #cellText = el('span', { className: 'dim' });
  readonly #message = el('div', { className: 'message', hidden: true });
  readonly #spans: HTMLButtonElement[];
  readonly #fromInput = timeInput('From');
  readonly #toInput = timeInput('to');
  readonly #clear = el('button', {
    type: 'button',
    textContent: 'All',
    title: 'Clears the chosen time (Esc)',
  });
  readonly #hotTitle = el('h2');
  readonly #cellTitle = el('h2');
  readonly #table: Table<HotRange>;
  readonly #axis = new TimeAxis();
  #spanMs: number = SPANS_MS[0];
  #strips: Strip[] = [];
  #columns: Column[] = [];
  #hot: { columns: readonly Column[] } = { columns: [] };
  #mostRate = 1;
  #leastRate = 1;
  #pointer: { x: number; y: number } | undefined;
  #brush: { fromX: number; toX: number } | undefined;
  readonly #redraw = onFrame(() => this.#paint());

  constructor(store: Store, theme: ThemeSwitch) {
    this.#store = store;
    this.#theme = theme;
    this.#table = this.#hotTable();
    this.#spans = this.#spanButtons();
    this.#clear.addEventListener('click', () => store.select(undefined));
    for (const input of [this.#fromInput, this.#toInput]) {
      input.addEventListener('change', () => this.#selectTyped());
    }
    this.#scroller.append(this.#canvas, this.#spacer);
    this.#frame.append(this.#scroller, this.#tip.element, this.#message);
    this.element = el('div', { className: 'view heat' }, this.#heatCard(), this.#hotCard());
    this.#listen();
    store.on(['heat', 'filter', 'selection', 'tracking', 'model'], () => this.draw());
    store.on(['model'], () => {
      if (store.about?.source !== 'live') this.#spanMs = Number.POSITIVE_INFINITY;
    });
    theme.onChange(() => {
      this.#drawLegend();
      this.#redraw();
    });
    new ResizeObserver(() => this.#resize()).observe(this.#frame);
  }

  #hotTable(): Table<HotRange> {
    return new Table<HotRange>(
      'Hottest address ranges of the chosen time',
      [
        {
          title: 'Range',
          mono: true,
          text: ({ start, end }) => `${hex(start)} – ${hex(end)}`,
          order: ({ start }) => start,
        },
        {
          title: 'Size',
          align: 'right',
          text: ({ start, end }) => humanBytes(end - start),
          order: ({ start, end }) => end - start,
        },
        {
          title: 'Written',
          align: 'right',
          text: ({ pages }) => pagesText(pages),
          order: ({ pages }) => pages,
        },
        {
          title: 'Rate',
          align: 'right',
          text: ({ pages }) => rateText(bytesPerSecond(pages, this.#hot.columns)),
        },
        {
          title: 'Share',
          align: 'right',
          text: ({ pages }) =>
            percent(
              pages /
                Math.max(
                  1,
                  this.#hot.columns.reduce((sum, column) => sum + column.pages, 0),
                ),
            ),
        },
        { title: 'Mapping', wide: true, text: ({ band }) => label(this.#store.owned(band.model)) },
      ],
      { sortBy: 2, empty: 'There are no ranges' },
    );
  }

  #spanButtons(): HTMLButtonElement[] {
    const spans = SPANS_MS.map((span) => {
      const button = el('button', { type: 'button', textContent: `${span / 60_000} min` });
      button.addEventListener('click', () => {
        this.#spanMs = span;
        this.draw();
      });
      return button;
    });
    const whole = el('button', { type: 'button', textContent: 'All' });
    whole.addEventListener('click', () => {
      this.#spanMs = Number.POSITIVE_INFINITY;
      this.draw();
    });
    return [...spans, whole];
  }

  #heatCard(): HTMLElement {
    return el(
      'section',
      { className: 'card grow', attributes: { 'aria-label': 'Heat over time' } },
      el(
        'div',
        { className: 'card-head' },
        this.#cellTitle,
        el('span', { className: 'scale-line' }, this.#least, this.#legend, this.#most),
        this.#cellText,
        el('span', { className: 'spring' }),
        el(
          'div',
          { className: 'buttons', attributes: { role: 'group', 'aria-label': 'Time shown' } },
          ...this.#spans,
        ),
      ),
      el('p', {
        id: 'heat-help',
        className: 'unseen',
        textContent:
          'To choose a time, drag, press Shift with the left or right arrow key, or fill in the fields below. The table below then has the hottest ranges of that time.',
      }),
      this.#state,
      this.#frame,
    );
  }

  #hotCard(): HTMLElement {
    return el(
      'section',
      { className: 'card hottest', attributes: { 'aria-label': 'Hottest ranges' } },
      el(
        'div',
        { className: 'card-head' },
        this.#hotTitle,
        el('span', { className: 'spring' }),
        el('label', { className: 'field' }, 'From', this.#fromInput),
        el('label', { className: 'field' }, 'to', this.#toInput),
        this.#clear,
      ),
      this.#table.element,
    );
  }

  draw(): void {
    if (this.element.hidden) return;
    this.#drawMessage();
    const { title } = wordsOf(this.#store.about);
    setText(this.#cellTitle, `${title} per cell`);
    this.#table.retitle(2, title);
    const { timeRange } = this.#store;
    const live = this.#store.about?.source === 'live';
    this.#axis.range = shownTime(timeRange, this.#spanMs, live);
    this.#spans.forEach((button, index) => {
      button.setAttribute(
        'aria-pressed',
        String((SPANS_MS[index] ?? Number.POSITIVE_INFINITY) === this.#spanMs),
      );
    });
    this.#columns = this.#store.columns.filter(({ endMs }) => endMs > this.#axis.range.fromMs);
    this.#arrange();
    this.#drawHottest();
    this.#redraw();
  }

  #drawMessage(): void {
    const { tracking, columns } = this.#store;
    let text = '';
    if (columns.length === 0) {
      if (tracking.state === 'off')
        text = `${wordsOf(this.#store.about).tracked} are not tracked: ${tracking.why}`;
      else if (tracking.state === 'ended') text = tracking.why ?? 'Tracking has ended';
      else text = tracking.state === 'starting' ? 'Attaching …' : 'Waiting for the first interval …';
    }
    this.#message.hidden = text === '';
    setText(this.#message, text);
  }

  #arrange(): void {
    const shown = new Set(this.#columns.map(({ number }) => number));
    let most = 0;
    let least = Number.POSITIVE_INFINITY;
    let top = BAND_GAP;
    this.#strips = [];
    const seconds = new Map(this.#columns.map((column) => [column.number, secondsOf([column])]));
    const bands = [...this.#store.bands.values()]
      .filter((band) => passes(this.#store.filter, this.#store.owned(band.model)))
      .sort((a, b) => a.model.start - b.model.start);
    for (const band of bands) {
      let firstBucket = Number.POSITIVE_INFINITY;
      let lastBucket = Number.NEGATIVE_INFINITY;
      for (const [column, pairs] of band.cells) {
        if (!shown.has(column)) continue;
        firstBucket = Math.min(firstBucket, pairs[0]!);
        lastBucket = Math.max(lastBucket, pairs[pairs.length - 2]!);
        const scale = PAGE_SIZE / seconds.get(column)!;
        for (let at = 1; at < pairs.length; at += 2) {
          most = Math.max(most, pairs[at]! * scale);
          least = Math.min(least, pairs[at]! * scale);
        }
      }
      if (lastBucket < firstBucket) continue;
      // Only the part that is written: the rest of a large mapping would leave it no room.
      const buckets = lastBucket - firstBucket + 1;
      const height = Math.max(LEAST_BAND, buckets * Math.max(1, Math.min(6, Math.floor(96 / buckets))));
      this.#strips.push({ band, top, height, firstBucket, buckets });
      top += height + BAND_GAP;
    }
    this.#leastRate = Number.isFinite(least) ? least : 1;
    this.#mostRate = Math.max(most, this.#leastRate * 2);
    setText(this.#least, rateText(this.#leastRate));
    setText(this.#most, rateText(this.#mostRate));
    const sizes = this.#strips.map(({ band }) => band.model.bucketBytes);
    const smallest = sizes.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
    const largest = sizes.reduce((a, b) => Math.max(a, b), 0);
    const intervals = this.#columns.length === 0 ? 0 : secondsOf(this.#columns) / this.#columns.length;
    setText(
      this.#cellText,
      sizes.length === 0
        ? ''
        : `one cell: ${smallest === largest ? '' : `${humanBytes(smallest)} to `}${humanBytes(largest)} × ${intervals.toFixed(intervals < 9.95 ? 1 : 0)} s`,
    );
    this.#spacer.style.height = `${Math.max(0, top + AXIS)}px`;
    this.#canvas.dataset['bands'] = String(this.#strips.length);
  }

  #selected(): Column[] {
    return this.#store.selection === undefined ? this.#columns : this.#store.columnsIn(this.#store.selection);
  }

  #drawHottest(): void {
    const columns = this.#selected();
    this.#hot = { columns };
    const { selection } = this.#store;
    const first = columns[0];
    const last = columns.at(-1);
    setText(
      this.#hotTitle,
      first === undefined || last === undefined
        ? 'Hottest ranges'
        : `Hottest ranges, ${clock(first.startMs)} to ${clock(last.endMs)}${selection ? ' (chosen)' : ''}`,
    );
    this.#clear.hidden = selection === undefined;
    for (const [input, time] of [
      [this.#fromInput, first?.startMs],
      [this.#toInput, last?.endMs],
    ] as const) {
      if (document.activeElement !== input) input.value = time === undefined ? '' : (time / 1000).toFixed(1);
    }
    this.#table.set(hottestRanges(this.#store, columns, 50));
  }

  #selectTyped(): void {
    const fromMs = Number(this.#fromInput.value) * 1000;
    const toMs = Number(this.#toInput.value) * 1000;
    if (Number.isFinite(fromMs) && toMs > fromMs) this.#store.select({ fromMs, toMs });
  }

  #resize(): void {
    if (!this.#picture.fit(this.#frame)) return;
    const { width, height } = this.#picture;
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
    // It takes no room: the spacer alone makes the scrolled height.
    this.#canvas.style.marginBottom = `-${height}px`;
    this.#axis.left = GUTTER;
    this.#axis.right = width - RIGHT;
    this.#drawLegend();
    this.#paint();
  }

  #step(rate: number): number {
    const share = Math.log(rate / this.#leastRate) / Math.log(this.#mostRate / this.#leastRate);
    return Math.max(0, Math.min(RAMP_STEPS - 1, Math.round(share * (RAMP_STEPS - 1))));
  }

  #paint(): void {
    if (this.element.hidden || this.#picture.width === 0) return;
    const { palette } = this.#theme;
    const ratio = pixelRatio();
    const offset = this.#scroller.scrollTop;
    const plotHeight = this.#picture.height - AXIS;
    const words = this.#picture.clear(palette.panelWord);
    const seen = this.#strips.filter(
      ({ top, height: own }) => top + own > offset && top < offset + plotHeight,
    );
    for (const strip of seen) this.#paintStrip(strip, words, this.#canvas.width, ratio, offset, plotHeight);
    const context = this.#picture.draw();
    context.save();
    context.beginPath();
    context.rect(0, 0, this.#picture.width, plotHeight);
    context.clip();
    for (const strip of seen) {
      const { top, height: own } = strip;
      const y = top - offset;
      context.strokeStyle = palette.line;
      context.strokeRect(GUTTER - 0.5, y - 0.5, this.#axis.right - GUTTER + 1, own + 1);
      this.#paintLabel(context, strip, y);
    }
    context.restore();
    if (this.#strips.length > 0) this.#axis.draw(context, plotHeight, this.#theme);
    this.#paintSelection(context, plotHeight);
    this.#showTip();
  }

  #paintStrip(
    { band, top, height, firstBucket, buckets }: Strip,
    words: Uint32Array,
    width: number,
    ratio: number,
    offset: number,
    plotHeight: number,
  ): void {
    const { palette } = this.#theme;
    const bottom = Math.round(plotHeight * ratio);
    const left = Math.round(GUTTER * ratio);
    const right = Math.round(this.#axis.right * ratio);
    const deviceTop = (top - offset) * ratio;
    const rowHeight = (height * ratio) / buckets;
    for (const column of this.#columns) {
      const pairs = band.cells.get(column.number);
      if (pairs === undefined) continue;
      const x0 = Math.max(left, Math.round(this.#axis.x(column.startMs) * ratio));
      const x1 = Math.min(right, Math.max(x0 + 1, Math.round(this.#axis.x(column.endMs) * ratio)));
      if (x1 <= x0) continue;
      const scale = PAGE_SIZE / secondsOf([column]);
      for (let at = 0; at < pairs.length; at += 2) {
        const row = pairs[at]! - firstBucket;
        const y0 = Math.max(0, Math.round(deviceTop + row * rowHeight));
        const y1 = Math.min(bottom, Math.max(y0 + 1, Math.round(deviceTop + (row + 1) * rowHeight)));
        const color = palette.ramp[this.#step(pairs[at + 1]! * scale)]!;
        for (let y = y0; y < y1; y++) words.fill(color, y * width + x0, y * width + x1);
      }
    }
  }

  /** The mapping, and if there is room where in it the picture begins and ends. */
  #paintLabel(context: CanvasRenderingContext2D, strip: Strip, y: number): void {
    const { palette } = this.#theme;
    const { band, height, firstBucket, buckets } = strip;
    const { start, end, origin, bucketBytes } = band.model;
    const middle = height >= 34 ? y + 10 : y + height / 2;
    context.textBaseline = 'middle';
    context.font = FONT;
    context.textAlign = 'right';
    context.fillStyle = palette.dim;
    const size = humanBytes(end - start);
    context.fillText(size, GUTTER - 12, middle);
    context.textAlign = 'left';
    context.fillStyle = palette.text;
    const room = GUTTER - 30 - context.measureText(size).width;
    context.fillText(cut(context, shortLabel(this.#store.owned(band.model)), room), 10, middle);
    context.font = MONO;
    context.textAlign = 'right';
    context.fillStyle = palette.dim;
    const first = Math.max(start, origin + firstBucket * bucketBytes);
    const last = Math.min(end, origin + (firstBucket + buckets) * bucketBytes);
    if (height >= 34) context.fillText(hex(first), GUTTER - 12, y + 25);
    if (height >= 54) context.fillText(hex(last), GUTTER - 12, y + height - 8);
  }

  #paintSelection(context: CanvasRenderingContext2D, plotHeight: number): void {
    const { selection } = this.#store;
    const range = this.#brush
      ? {
          from: Math.min(this.#brush.fromX, this.#brush.toX),
          to: Math.max(this.#brush.fromX, this.#brush.toX),
        }
      : selection && { from: this.#axis.x(selection.fromMs), to: this.#axis.x(selection.toMs) };
    if (!range) return;
    const from = Math.max(GUTTER, Math.min(range.from, this.#axis.right));
    const to = Math.max(GUTTER, Math.min(range.to, this.#axis.right));
    context.fillStyle = this.#theme.palette.panel;
    context.globalAlpha = 0.55;
    context.fillRect(GUTTER, 0, from - GUTTER, plotHeight);
    context.fillRect(to, 0, this.#axis.right - to, plotHeight);
    context.globalAlpha = 1;
    context.strokeStyle = this.#theme.palette.accent;
    context.lineWidth = 2;
    context.strokeRect(from, 1, to - from, plotHeight - 2);
    context.lineWidth = 1;
  }

  #drawLegend(): void {
    const ratio = pixelRatio();
    const [width, height] = [150, 12];
    this.#legend.width = width * ratio;
    this.#legend.height = height * ratio;
    const context = this.#legend.getContext('2d')!;
    for (let x = 0; x < width * ratio; x++) {
      context.fillStyle = this.#theme.palette.rampColor(
        Math.round((x / (width * ratio - 1)) * (RAMP_STEPS - 1)),
      );
      context.fillRect(x, 0, 1, height * ratio);
    }
  }

  #showTip(): void {
    const pointer = this.#pointer;
    const y = pointer && pointer.y + this.#scroller.scrollTop;
    const strip =
      y === undefined ? undefined : this.#strips.find(({ top, height }) => top <= y && y < top + height);
    if (!pointer || !strip || pointer.x < GUTTER || pointer.y > this.#picture.height - AXIS || this.#brush) {
      this.#tip.hide();
      return;
    }
    const { band, top, height, firstBucket, buckets } = strip;
    const { origin, bucketBytes, start, end } = band.model;
    const time = this.#axis.time(pointer.x);
    const column = this.#columns.find(({ startMs, endMs }) => startMs <= time && time < endMs);
    const bucket = firstBucket + Math.floor(((y! - top) / height) * buckets);
    const pairs = column === undefined ? undefined : band.cells.get(column.number);
    let pages = 0;
    if (pairs !== undefined) {
      for (let at = 0; at < pairs.length; at += 2) if (pairs[at] === bucket) pages = pairs[at + 1]!;
    }
    const from = Math.max(start, origin + bucket * bucketBytes);
    const to = Math.min(end, origin + (bucket + 1) * bucketBytes);
    const { done } = wordsOf(this.#store.about);
    const lines = [
      `${hex(from)} – ${hex(to)}, ${humanBytes(to - from)}`,
      column === undefined
        ? 'not tracked at that time'
        : `${clock(column.startMs, true)} to ${clock(column.endMs, true)}: ${pages === 0 ? `not ${done}` : `${pagesText(pages)} ${done}, ${rateText(bytesPerSecond(pages, [column]))}`}`,
      label(this.#store.owned(band.model)),
    ];
    setText(this.#state, lines.join('. '));
    this.#tip.show(lines, (width, height) => {
      const below = pointer.y + 18;
      return {
        x: pointer.x + 14 + width > this.#picture.width ? pointer.x - width - 14 : pointer.x + 14,
        y: below + height > this.#picture.height ? pointer.y - height - 8 : below,
      };
    });
  }

  #listen(): void {
    const canvas = this.#canvas;
    this.#scroller.addEventListener('scroll', () => this.#redraw(), { passive: true });
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0 || event.offsetX < GUTTER) return;
      canvas.setPointerCapture(event.pointerId);
      this.#brush = { fromX: event.offsetX, toX: event.offsetX };
    });
    canvas.addEventListener('pointermove', (event) => {
      this.#pointer = { x: event.offsetX, y: event.offsetY };
      if (this.#brush) this.#brush.toX = event.offsetX;
      this.#redraw();
    });
    canvas.addEventListener('pointerup', () => {
      const brush = this.#brush;
      this.#brush = undefined;
      if (brush === undefined) return;
      const from = this.#axis.time(Math.min(brush.fromX, brush.toX));
      const to = this.#axis.time(Math.max(brush.fromX, brush.toX));
      if (Math.abs(brush.toX - brush.fromX) < 4) this.#store.select(undefined);
      else this.#select(from, to);
    });
    canvas.addEventListener('pointerleave', () => {
      this.#pointer = undefined;
      this.#redraw();
    });
    canvas.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#store.select(undefined);
      else if (event.key === 'ArrowLeft' || event.key === 'ArrowRight') {
        this.#moveSelection(event.key === 'ArrowLeft' ? -1 : 1, event.shiftKey);
      } else if (event.key === 'ArrowDown') this.#scroller.scrollBy(0, 40);
      else if (event.key === 'ArrowUp') this.#scroller.scrollBy(0, -40);
      else return;
      event.preventDefault();
    });
  }

  /** Chooses the columns that the time touches. */
  #select(fromMs: number, toMs: number): void {
    const touched = this.#columns.filter((column) => column.endMs > fromMs && column.startMs < toMs);
    const first = touched[0];
    const last = touched.at(-1);
    if (first && last) this.#store.select({ fromMs: first.startMs, toMs: last.endMs });
  }

  /** By a column: the whole choice, or its end only. */
  #moveSelection(by: number, endOnly: boolean): void {
    const chosen = this.#store.selection === undefined ? this.#columns.slice(-1) : this.#selected();
    const at = (column: Column | undefined) =>
      this.#store.columns.findIndex(({ number }) => number === column?.number);
    const all = this.#store.columns;
    const first = Math.max(0, Math.min(all.length - 1, at(chosen[0]) + (endOnly ? 0 : by)));
    const last = Math.max(first, Math.min(all.length - 1, at(chosen.at(-1)) + by));
    if (all[first] && all[last]) this.#store.select({ fromMs: all[first].startMs, toMs: all[last].endMs });
  }
}

function timeInput(name: string): HTMLInputElement {
  return el('input', {
    type: 'number',
    min: '0',
    step: '0.1',
    attributes: { 'aria-label': `${name}, seconds since the beginning` },
  });
}
