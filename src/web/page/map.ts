/** The address map: every mapping a band, every cell so many pages, down to single ones. */
import { PAGE_SIZE } from '../../abi/index.js';
import { cellCategories, cellKind, cellShare, type MappingModel, UNTOUCHED } from '../../model/index.js';
import { PAGE_KINDS } from '../../query/internal.js';
import { AGE_TITLES, AgeLegend } from './ages.js';
import { cut, FONT, MONO, Picture, Tip } from './canvas.js';
import { el, onFrame, pixelRatio, setAttribute, setText } from './dom.js';
import { categoriesText, hex, humanBytes, humanCount, KIND_TITLES, label, shortLabel } from './format.js';
import { ChangeLegend } from './moment-slider.js';
import { changedPages, pagesBetween } from './moments.js';
import { isFiltered, passes, type Store } from './store.js';
import { Table } from './table.js';
import type { ThemeSwitch } from './theme.js';
import { BY_AGE, BY_CHANGE, TILE_CELLS, type TileSource } from './tiles.js';
import type { View } from './view.js';
import { Legend } from './where.js';

/** The page's pixels. */
const ROW = 14;
const BAND_GAP = 5;
const UNMAPPED_GAP = 22;
const GUTTER = 236;
const SCROLLBAR = 14;
const ALL_KINDS = (1 << UNTOUCHED) - 1;
const LARGEST_CELL = 2 ** 46;

/** A mapping's place in the picture. */
interface Band {
  readonly mapping: MappingModel;
  readonly top: number;
  readonly rows: number;
  /** Unmapped bytes above it. */
  readonly gap: number;
}

/** A cell by its mapping and number. */
interface Place {
  readonly band: number;
  readonly cell: number;
}

interface VisibleRow {
  readonly address: number;
  readonly mapping: MappingModel;
  readonly text: string;
}

export class MapView implements View {
  readonly title = 'Address map';
  readonly id = 'map';
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #theme: ThemeSwitch;
  readonly #legend: Legend;
  readonly #ageLegend: AgeLegend;
  readonly #ageToggle = el('button', {
    type: 'button',
    textContent: 'By age',
    title: 'Switches the colours: the time since memory was last touched, or the kinds of pages',
  });
  readonly #canvas = el('canvas', {
    tabIndex: 0,
    attributes: {
      role: 'application',
      'aria-label': 'Address map',
      'aria-describedby': 'map-help map-state',
    },
  });
  readonly #frame = el('div', { className: 'canvas-frame' });
  readonly #picture = new Picture(this.#canvas);
  readonly #tip = new Tip();
  readonly #state = el('p', { id: 'map-state', className: 'unseen', attributes: { 'aria-live': 'polite' } });
  readonly #scale = el('output', { className: 'scale' });
  readonly #zoomIn = el('button', { type: 'button', textContent: '+', title: 'Zooms in (+)' });
  readonly #zoomOut = el('button', { type: 'button', textContent: '−', title: 'Zooms out (-)' });
  readonly #address = el('input', {
    type: 'text',
    size: 17,
    placeholder: 'Go to address',
    spellcheck: false,
    attributes: { 'aria-label': 'Go to address, hexadecimal' },
  });
  readonly #tableToggle = el('button', {
    type: 'button',
    textContent: 'As table',
    attributes: { 'aria-expanded': false },
  });
  readonly #changeLegend = new ChangeLegend();
  readonly #changeToggle = el('button', {
    type: 'button',
    textContent: 'By change',
    title: 'Switches the colours: the changes since the snapshot before, or the kinds of pages',
  });
  readonly #table: Table<VisibleRow>;
  #source: TileSource;
  #bands: Band[] = [];
  #height = 0;
  #cellBytes = 0;
  #cellsPerRow = 256;
  #offset = 0;
  #viewHeight = 0;
  #cursor: Place | undefined;
  #hover: Place | undefined;
  #fitted = true;
  /** Colours tell how long memory was left alone, where that is known. */
  #wantsAges = true;
  /** Colours tell what has changed since the snapshot before, where there are several. */
  #wantsChanges = true;
  readonly #redraw = onFrame(() => this.#paint());

  constructor(store: Store, theme: ThemeSwitch, source: TileSource) {
    this.#store = store;
    this.#theme = theme;
    this.#source = source;
    this.#legend = new Legend(store);
    this.#ageLegend = new AgeLegend(store);
    this.#ageToggle.addEventListener('click', () => {
      this.#wantsAges = !this.#wantsAges;
      this.draw();
    });
    this.#changeToggle.addEventListener('click', () => {
      this.#wantsChanges = !this.#wantsChanges;
      this.draw();
    });
    this.#table = new Table<VisibleRow>(
      'The rows of the address map that are on the screen',
      [
        { title: 'Address', mono: true, text: ({ address }) => hex(address) },
        { title: 'Mapping', text: ({ mapping }) => label(mapping) },
        { title: 'Cells', wide: true, text: ({ text }) => text },
      ],
      { empty: 'No mapping matches the filter' },
    );
    this.#table.element.hidden = true;
    const fit = el('button', {
      type: 'button',
      textContent: 'Fit',
      title: 'Zooms out to all mappings (0)',
    });
    fit.addEventListener('click', () => this.#fit());
    this.#zoomIn.addEventListener('click', () => this.#zoom(0.5));
    this.#zoomOut.addEventListener('click', () => this.#zoom(2));
    this.#address.addEventListener('keydown', (event) => {
      if (event.key === 'Enter') this.#goTo();
    });
    this.#tableToggle.addEventListener('click', () => {
      this.#table.element.hidden = !this.#table.element.hidden;
      this.#tableToggle.setAttribute('aria-expanded', String(!this.#table.element.hidden));
      this.#resize();
    });
    this.#frame.append(this.#canvas, this.#tip.element);
    this.element = el(
      'div',
      { className: 'view map' },
      el(
        'section',
        { className: 'card grow', attributes: { 'aria-label': 'Address map' } },
        el(
          'div',
          { className: 'card-head' },
          this.#legend.element,
          this.#ageLegend.element,
          this.#ageToggle,
          this.#changeLegend.element,
          this.#changeToggle,
          el('span', { className: 'spring' }),
          this.#address,
          el('div', { className: 'buttons' }, this.#zoomOut, this.#scale, this.#zoomIn, fit),
          this.#tableToggle,
        ),
        el('p', {
          id: 'map-help',
          className: 'unseen',
          textContent:
            'Arrow keys move from cell to cell, page keys scroll, plus and minus zoom, 0 shows all mappings. "As table" shows the same as text.',
        }),
        this.#state,
        this.#frame,
        this.#table.element,
      ),
    );
    this.#listen();
    source.onTiles = () => this.#redraw();
    store.on(['layout', 'filter'], () => this.draw());
    store.on(['model'], () => {
      this.#fitted = true;
      this.#offset = 0;
    });
    theme.onChange(() => this.#redraw());
    new ResizeObserver(() => this.#resize()).observe(this.#frame);
  }

  /** Another process's cells from now on. */
  setSource(source: TileSource): void {
    this.#source.onTiles = () => undefined;
    this.#source = source;
    source.onTiles = () => this.#redraw();
    this.#cursor = undefined;
    this.#hover = undefined;
    this.#fitted = true;
  }

  /** Brings a mapping to the top. */
  show(mapping: MappingModel): void {
    this.#arrange();
    const band = this.#bands.find(({ mapping: { start } }) => start === mapping.start);
    if (band === undefined) return;
    this.#cursor = { band: this.#bands.indexOf(band), cell: 0 };
    this.#scrollTo(band.top - BAND_GAP);
    this.#canvas.focus();
  }

  draw(): void {
    if (this.element.hidden) return;
    const isByAge = this.#isByAge;
    const isByChange = this.#isByChange;
    this.#legend.element.hidden = isByAge || isByChange;
    this.#changeLegend.element.hidden = !isByChange;
    this.#changeToggle.hidden = (this.#store.moments?.list.length ?? 0) < 2;
    setAttribute(this.#changeToggle, 'aria-pressed', isByChange);
    this.#ageLegend.element.hidden = !isByAge;
    this.#ageToggle.hidden = this.#store.about?.subject !== 'accesses';
    setAttribute(this.#ageToggle, 'aria-pressed', isByAge);
    if (isByAge) this.#ageLegend.draw();
    else if (!isByChange) this.#legend.draw();
    this.#arrange();
    this.#redraw();
  }

  get #isByAge(): boolean {
    return this.#wantsAges && this.#store.about?.subject === 'accesses';
  }

  get #isByChange(): boolean {
    return this.#wantsChanges && (this.#store.moments?.list.length ?? 0) > 1;
  }

  /** By kind, and not by age or change. */
  get #isByKind(): boolean {
    return !this.#isByAge && !this.#isByChange;
  }

  /** What a cell is, in words. */
  #kindText(cell: number): string {
    const index = cellKind(cell);
    if (this.#isByChange) return index === UNTOUCHED ? 'unchanged' : 'changed';
    if (!this.#isByAge || index === UNTOUCHED) return PAGE_KINDS[index]!;
    return `touched ${AGE_TITLES[index]} ago`;
  }

  #kinds(): number {
    if (this.#isByAge) return ALL_KINDS | BY_AGE;
    if (this.#isByChange) return ALL_KINDS | BY_CHANGE;
    const { pageKinds } = this.#store.filter;
    if (pageKinds.size === 0) return ALL_KINDS;
    let kinds = 0;
    for (const kind of pageKinds) kinds |= 1 << kind;
    return kinds & ALL_KINDS;
  }

  #mappings(): MappingModel[] {
    const { filter } = this.#store;
    return this.#store.mappings.filter((mapping) => {
      if (!passes(filter, mapping)) return false;
      if (!this.#isByKind || filter.pageKinds.size === 0 || mapping.pages === undefined) return true;
      return [...filter.pageKinds].some((kind) => (mapping.pages![kind] ?? 0) > 0);
    });
  }

  /** Cells small enough that what is large takes some sixty rows more than one for each mapping. */
  #fittingCell(mappings: readonly MappingModel[]): number {
    let cell = PAGE_SIZE;
    const extraRows = (size: number) =>
      mappings.reduce(
        (sum, { start, end }) => sum + Math.ceil((end - start) / (size * this.#cellsPerRow)) - 1,
        0,
      );
    while (extraRows(cell) > 64 && cell < LARGEST_CELL) cell *= 2;
    return cell;
  }

  #finest(mappings: readonly MappingModel[]): number {
    return mappings.reduce((least, mapping) => Math.min(least, this.#source.finest(mapping)), LARGEST_CELL);
  }

  /** Puts the bands in their places. */
  #arrange(): void {
    const mappings = this.#mappings();
    if (this.#fitted || this.#cellBytes === 0) this.#cellBytes = this.#fittingCell(mappings);
    const rowBytes = this.#cellBytes * this.#cellsPerRow;
    let top = 0;
    let last: number | undefined;
    this.#bands = mappings.map((mapping) => {
      const gap = last === undefined ? 0 : mapping.start - last;
      top += gap > 0 ? UNMAPPED_GAP : BAND_GAP;
      const rows = Math.ceil((mapping.end - mapping.start) / rowBytes);
      const band = { mapping, top, rows, gap };
      top += rows * ROW;
      last = mapping.end;
      return band;
    });
    this.#height = top + BAND_GAP;
    this.#offset = Math.max(0, Math.min(this.#offset, this.#height - this.#viewHeight));
    setText(this.#scale, `${humanBytes(this.#cellBytes)} a cell`);
    this.#scale.title = `${humanBytes(rowBytes)} a row`;
    this.#zoomIn.disabled = this.#cellBytes <= Math.max(PAGE_SIZE, this.#finest(mappings));
    this.#zoomOut.disabled = this.#bands.every(({ rows }) => rows === 1);
    this.#canvas.dataset['cellBytes'] = String(this.#cellBytes);
  }

  #resize(): void {
    if (!this.#picture.fit(this.#frame)) return;
    this.#viewHeight = this.#picture.height;
    const plot = this.#picture.width - GUTTER - SCROLLBAR;
    const cells = plot >= 512 ? 256 : 128;
    if (cells !== this.#cellsPerRow) this.#cellsPerRow = cells;
    this.#arrange();
    this.#paint();
  }

  /** Width of a cell in device pixels. */
  #cellWidth(): number {
    const plot = (this.#picture.width - GUTTER - SCROLLBAR) * pixelRatio();
    return Math.max(1, Math.floor(plot / this.#cellsPerRow));
  }

  /** The first band that reaches below `y`. */
  #bandAt(y: number): number {
    let low = 0;
    let high = this.#bands.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const { top, rows } = this.#bands[middle]!;
      if (top + rows * ROW <= y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #cells({ mapping }: Band): number {
    return Math.ceil((mapping.end - mapping.start) / this.#cellBytes);
  }

  #cell(mapping: MappingModel, cell: number): number | undefined {
    const tile = this.#source.tile(mapping, this.#cellBytes, Math.floor(cell / TILE_CELLS), this.#kinds());
    return tile?.[cell % TILE_CELLS];
  }

  #paint(): void {
    if (this.element.hidden || this.#picture.width === 0) return;
    const { width, height } = this.#canvas;
    const words = this.#picture.clear(this.#theme.palette.panelWord);
    const ratio = pixelRatio();
    const bottom = this.#offset + this.#viewHeight;
    const first = this.#bandAt(this.#offset);
    for (let index = first; index < this.#bands.length && this.#bands[index]!.top < bottom; index++) {
      this.#paintBand(this.#bands[index]!, words, width, height, ratio);
    }
    const context = this.#picture.draw();
    for (let index = first; index < this.#bands.length && this.#bands[index]!.top < bottom; index++) {
      this.#paintLabels(context, this.#bands[index]!);
    }
    this.#paintMarks(context);
    this.#paintScrollbar(context);
    if (!this.#table.element.hidden) this.#table.set(this.#visibleRows());
    this.#showTip();
  }

  #visible({ top, rows }: Band): { from: number; to: number } {
    const from = Math.max(0, Math.floor((this.#offset - top) / ROW));
    const to = Math.min(rows, Math.ceil((this.#offset + this.#viewHeight - top) / ROW));
    return { from, to };
  }

  #paintBand(band: Band, words: Uint32Array, width: number, height: number, ratio: number): void {
    const { palette } = this.#theme;
    const { mapping } = band;
    const left = Math.round(GUTTER * ratio);
    const cellWidth = this.#cellWidth();
    // Single pages stand apart; larger cells are one picture.
    const space = this.#cellBytes === PAGE_SIZE && cellWidth >= 3 * ratio ? Math.round(ratio) : 0;
    const all = this.#cells(band);
    const kinds = this.#kinds();
    const { from, to } = this.#visible(band);
    for (let row = from; row < to; row++) {
      const y = Math.round((band.top + row * ROW - this.#offset) * ratio);
      const end = Math.min(Math.round((band.top + (row + 1) * ROW - this.#offset) * ratio) - 1, height);
      const firstLine = Math.max(0, y);
      if (end <= firstLine) continue;
      const cell = row * this.#cellsPerRow;
      const tile = this.#source.tile(mapping, this.#cellBytes, Math.floor(cell / TILE_CELLS), kinds);
      const count = Math.min(this.#cellsPerRow, all - cell);
      const line = firstLine * width;
      let x = line + left;
      const colors = this.#isByAge ? palette.ages : this.#isByChange ? palette.changes : palette.cells;
      const nothing = colors[UNTOUCHED << 4]!;
      for (let at = 0; at < count; at++) {
        const value = tile?.[(cell + at) % TILE_CELLS];
        const color = value === undefined ? nothing : colors[value & 0xff]!;
        words.fill(color, x, x + cellWidth - space);
        x += cellWidth;
      }
      // The other lines of pixels are like the first.
      for (let below = firstLine + 1; below < end; below++) {
        words.copyWithin(below * width + left, line + left, x);
      }
    }
  }

  #paintLabels(context: CanvasRenderingContext2D, band: Band): void {
    const { palette } = this.#theme;
    const { mapping, top, gap } = band;
    const y = top - this.#offset;
    context.textBaseline = 'middle';
    if (gap > 0) {
      const middle = y - UNMAPPED_GAP / 2;
      context.strokeStyle = palette.line;
      context.beginPath();
      context.setLineDash([2, 4]);
      context.moveTo(GUTTER, middle);
      context.lineTo(this.#picture.width - SCROLLBAR - 8, middle);
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = palette.dim;
      context.font = FONT;
      context.textAlign = 'right';
      // With a filter, mappings that it keeps out lie there as well.
      const what = isFiltered(this.#store.filter) ? 'left out' : 'unmapped';
      context.fillText(`${humanBytes(gap)} ${what}`, GUTTER - 12, middle);
    }
    const { from, to } = this.#visible(band);
    const rowBytes = this.#cellBytes * this.#cellsPerRow;
    for (let row = from; row < to; row++) {
      const middle = y + row * ROW + ROW / 2;
      if (row === 0) {
        context.textAlign = 'right';
        context.fillStyle = palette.dim;
        context.font = FONT;
        const size = humanBytes(mapping.end - mapping.start);
        context.fillText(size, GUTTER - 12, middle);
        context.textAlign = 'left';
        context.fillStyle = palette.text;
        const room = GUTTER - 12 - context.measureText(size).width - 18;
        context.fillText(cut(context, shortLabel(mapping), room), 10, middle);
      } else {
        context.textAlign = 'right';
        context.fillStyle = palette.dim;
        context.font = MONO;
        context.fillText(hex(mapping.start + row * rowBytes), GUTTER - 12, middle);
      }
    }
  }

  #rectangle({ band: index, cell }: Place): { x: number; y: number; width: number } | undefined {
    const band = this.#bands[index];
    if (band === undefined || cell >= this.#cells(band)) return undefined;
    const width = this.#cellWidth() / pixelRatio();
    return {
      x: GUTTER + (cell % this.#cellsPerRow) * width,
      y: band.top + Math.floor(cell / this.#cellsPerRow) * ROW - this.#offset,
      width,
    };
  }

  #paintMarks(context: CanvasRenderingContext2D): void {
    for (const place of [this.#cursor, this.#hover]) {
      const found = place && this.#rectangle(place);
      if (!found) continue;
      const { x, y, width } = found;
      context.lineWidth = 2;
      context.strokeStyle = this.#theme.palette.text;
      context.strokeRect(x - 1.5, y - 1.5, width + 2, ROW + 1);
      context.lineWidth = 1;
    }
  }

  #thumb(): { top: number; height: number } | undefined {
    if (this.#height <= this.#viewHeight) return undefined;
    const height = Math.max(28, (this.#viewHeight / this.#height) * this.#viewHeight);
    const share = this.#offset / (this.#height - this.#viewHeight);
    return { top: share * (this.#viewHeight - height), height };
  }

  #paintScrollbar(context: CanvasRenderingContext2D): void {
    const thumb = this.#thumb();
    if (thumb === undefined) return;
    context.fillStyle = this.#theme.palette.line;
    context.beginPath();
    context.roundRect(this.#picture.width - 10, thumb.top + 2, 7, thumb.height - 4, 4);
    context.fill();
  }

  #visibleRows(): VisibleRow[] {
    const rows: VisibleRow[] = [];
    const bottom = this.#offset + this.#viewHeight;
    for (let index = this.#bandAt(this.#offset); index < this.#bands.length; index++) {
      const band = this.#bands[index]!;
      if (band.top >= bottom) break;
      const { from, to } = this.#visible(band);
      for (let row = from; row < to; row++) {
        const cell = row * this.#cellsPerRow;
        const count = Math.min(this.#cellsPerRow, this.#cells(band) - cell);
        rows.push({
          address: band.mapping.start + cell * this.#cellBytes,
          mapping: band.mapping,
          text: this.#describeRow(band.mapping, cell, count),
        });
      }
    }
    return rows;
  }

  /** Runs of equal cells: `anonymous × 12, untouched × 4`. */
  #describeRow(mapping: MappingModel, first: number, count: number): string {
    const parts: string[] = [];
    let run = 0;
    let last = '';
    for (let at = 0; at <= count; at++) {
      const cell = at === count ? undefined : this.#cell(mapping, first + at);
      const text = at === count ? '' : cell === undefined ? 'not known' : this.#kindText(cell);
      if (text !== last && run > 0) {
        parts.push(`${last} × ${run}`);
        run = 0;
      }
      last = text;
      run++;
    }
    return parts.join(', ');
  }

  #placeAt(x: number, y: number): Place | undefined {
    const at = this.#offset + y;
    const index = this.#bandAt(at);
    const band = this.#bands[index];
    if (band === undefined || at < band.top) return undefined;
    const column = Math.floor((x - GUTTER) / (this.#cellWidth() / pixelRatio()));
    if (column < 0 || column >= this.#cellsPerRow) return undefined;
    const cell = Math.floor((at - band.top) / ROW) * this.#cellsPerRow + column;
    return cell < this.#cells(band) ? { band: index, cell } : undefined;
  }

  /** What is known of a cell, as lines. */
  #describe({ band: index, cell }: Place): string[] {
    const { mapping } = this.#bands[index]!;
    const start = mapping.start + cell * this.#cellBytes;
    const end = Math.min(start + this.#cellBytes, mapping.end);
    const pages = (end - start) / PAGE_SIZE;
    const value = this.#cell(mapping, cell);
    let state = 'not known yet';
    if (this.#isByChange) state = this.#describeChange(mapping, cell);
    else if (value !== undefined) {
      const kind = PAGE_KINDS[cellKind(value)]!;
      const categories = categoriesText(cellCategories(value));
      const share =
        pages > 1 && kind !== 'untouched'
          ? `, ${Math.round(cellShare(value) * 100)} % ${this.#isByAge ? 'in memory' : 'touched'}`
          : '';
      const title = this.#isByAge ? this.#kindText(value) : KIND_TITLES[kind];
      state = `${title}${share}${categories === '' ? '' : ` (${categories})`}`;
    }
    const where = pages === 1 ? hex(start) : `${hex(start)} – ${hex(end)}, ${humanCount(pages)} pages`;
    return [
      where,
      state,
      `${label(mapping)}, ${mapping.perms}, ${humanBytes(start - mapping.start)} into ${humanBytes(mapping.end - mapping.start)}`,
    ];
  }

  #describeChange(mapping: MappingModel, cell: number): string {
    const { moments } = this.#store;
    const moment = moments?.at(mapping.start);
    if (moments === undefined || moment === undefined) return 'not known';
    if (moments.index === 0) return 'the first snapshot; there is none before it';
    const changed = changedPages(moment, cell, cell + 1, this.#cellBytes);
    const pages = pagesBetween(mapping, cell, cell + 1, this.#cellBytes);
    const before = moments.list[moments.index - 1]!.number;
    if (changed === 0) return `unchanged since snapshot ${before}`;
    return `${humanCount(Math.ceil(changed))} of ${humanCount(pages)} changed since snapshot ${before}`;
  }

  #showTip(): void {
    const place = this.#hover ?? (document.activeElement === this.#canvas ? this.#cursor : undefined);
    const found = place && this.#rectangle(place);
    if (!place || !found || found.y < -ROW || found.y > this.#viewHeight) {
      this.#tip.hide();
      return;
    }
    const lines = this.#describe(place);
    setText(this.#state, lines.join('. '));
    this.#tip.show(lines, (width, height) => {
      const below = found.y + ROW + 8;
      return {
        x: Math.min(found.x + found.width + 10, this.#picture.width - width - 8),
        y: below + height > this.#viewHeight ? found.y - height - 8 : below,
      };
    });
  }

  #scrollTo(offset: number): void {
    this.#offset = Math.max(0, Math.min(offset, this.#height - this.#viewHeight));
    this.#redraw();
  }

  #fit(): void {
    this.#fitted = true;
    this.#arrange();
    this.#scrollTo(this.#offset);
  }

  /** What stays where it is when the cell size changes: what is at `y`, or else the cursor, or the middle. */
  #anchor(y: number | undefined): { band: number; bytes: number; y: number } | undefined {
    const cursor = this.#cursor && this.#rectangle(this.#cursor);
    if (y === undefined && cursor && cursor.y >= 0 && cursor.y < this.#viewHeight) {
      return { band: this.#cursor!.band, bytes: this.#cursor!.cell * this.#cellBytes, y: cursor.y };
    }
    const at = y ?? this.#viewHeight / 2;
    if (this.#hover) return { band: this.#hover.band, bytes: this.#hover.cell * this.#cellBytes, y: at };
    const index = Math.min(this.#bandAt(this.#offset + at), this.#bands.length - 1);
    const band = this.#bands[index];
    if (band === undefined) return undefined;
    const row = Math.max(0, Math.floor((this.#offset + at - band.top) / ROW));
    return { band: index, bytes: row * this.#cellsPerRow * this.#cellBytes, y: at };
  }

  #zoom(factor: number, y?: number): void {
    const anchor = this.#anchor(y);
    if (anchor === undefined) return;
    const finest = Math.max(PAGE_SIZE, this.#finest(this.#bands.map(({ mapping }) => mapping)));
    const before = this.#cellBytes;
    const next = Math.max(finest, Math.min(LARGEST_CELL, before * factor));
    if (next === before) return;
    this.#fitted = false;
    this.#cellBytes = next;
    this.#arrange();
    const follow = (place: Place | undefined) =>
      place && { band: place.band, cell: Math.floor((place.cell * before) / next) };
    this.#cursor = follow(this.#cursor);
    // The pointer stays where it is, over the first of the cells that its cell has become.
    this.#hover = follow(this.#hover);
    const row = Math.floor(anchor.bytes / (next * this.#cellsPerRow));
    this.#scrollTo(this.#bands[anchor.band]!.top + row * ROW - anchor.y);
  }

  #goTo(): void {
    const address = Number.parseInt(this.#address.value.trim().replace(/^0x/i, ''), 16);
    const index = this.#bands.findIndex(({ mapping }) => mapping.start <= address && address < mapping.end);
    const found = Number.isFinite(address) && index >= 0;
    this.#address.setCustomValidity(found ? '' : 'No mapping that is shown contains this address');
    if (!found) {
      this.#address.reportValidity();
      return;
    }
    const band = this.#bands[index]!;
    const cell = Math.floor((address - band.mapping.start) / this.#cellBytes);
    this.#moveTo({ band: index, cell });
    this.#scrollTo(band.top + Math.floor(cell / this.#cellsPerRow) * ROW - this.#viewHeight / 3);
    this.#canvas.focus();
  }

  #moveTo(place: Place): void {
    this.#cursor = place;
    this.#hover = undefined;
    const found = this.#rectangle(place);
    if (found !== undefined) {
      if (found.y < ROW) this.#scrollTo(this.#offset + found.y - ROW * 2);
      else if (found.y > this.#viewHeight - ROW * 2) {
        this.#scrollTo(this.#offset + found.y - this.#viewHeight + ROW * 3);
      }
    }
    this.#redraw();
  }

  #step(columns: number, rows: number): void {
    if (this.#bands.length === 0) return;
    if (this.#cursor === undefined || this.#cursor.band >= this.#bands.length) {
      this.#moveTo({ band: Math.min(this.#bandAt(this.#offset), this.#bands.length - 1), cell: 0 });
      return;
    }
    let { band, cell } = this.#cursor;
    const all = this.#cells(this.#bands[band]!);
    cell += columns + rows * this.#cellsPerRow;
    if (cell >= all) {
      // From one mapping's end to the next one's beginning.
      const lastRow = Math.floor((all - 1) / this.#cellsPerRow);
      const inLastRow = Math.floor(this.#cursor.cell / this.#cellsPerRow) === lastRow;
      if (rows > 0 && !inLastRow) cell = all - 1;
      else if (band + 1 < this.#bands.length) {
        band++;
        cell = 0;
      } else cell = all - 1;
    } else if (cell < 0) {
      if (band > 0) {
        band--;
        cell = this.#cells(this.#bands[band]!) - 1;
      } else cell = 0;
    }
    this.#moveTo({ band, cell });
  }

  #listen(): void {
    const canvas = this.#canvas;
    canvas.addEventListener(
      'wheel',
      (event) => {
        event.preventDefault();
        if (event.ctrlKey || event.metaKey) {
          this.#zoom(event.deltaY > 0 ? 2 : 0.5, event.offsetY);
          return;
        }
        const unit = event.deltaMode === 1 ? ROW * 3 : event.deltaMode === 2 ? this.#viewHeight : 1;
        this.#hover = undefined;
        this.#scrollTo(this.#offset + event.deltaY * unit);
      },
      { passive: false },
    );
    let drag: { y: number; offset: number; moved: boolean; thumb: boolean } | undefined;
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      const thumb = event.offsetX > this.#picture.width - SCROLLBAR ? this.#thumb() : undefined;
      if (thumb && (event.offsetY < thumb.top || event.offsetY > thumb.top + thumb.height)) {
        const share = (event.offsetY - thumb.height / 2) / (this.#viewHeight - thumb.height);
        this.#scrollTo(share * (this.#height - this.#viewHeight));
      }
      drag = { y: event.offsetY, offset: this.#offset, moved: false, thumb: thumb !== undefined };
    });
    canvas.addEventListener('pointermove', (event) => {
      if (drag === undefined) {
        this.#hover = this.#placeAt(event.offsetX, event.offsetY);
        this.#redraw();
        return;
      }
      const distance = event.offsetY - drag.y;
      if (Math.abs(distance) > 3) drag.moved = true;
      if (drag.thumb) {
        const scale = this.#height / this.#viewHeight;
        this.#scrollTo(drag.offset + distance * scale);
      } else if (drag.moved) {
        this.#hover = undefined;
        this.#scrollTo(drag.offset - distance);
      }
    });
    canvas.addEventListener('pointerup', (event) => {
      if (drag !== undefined && !drag.moved && !drag.thumb) {
        this.#cursor = this.#placeAt(event.offsetX, event.offsetY);
        this.#redraw();
      }
      drag = undefined;
    });
    canvas.addEventListener('pointerleave', () => {
      this.#hover = undefined;
      this.#redraw();
    });
    canvas.addEventListener('dblclick', (event) => this.#zoom(0.5, event.offsetY));
    canvas.addEventListener('blur', () => this.#redraw());
    canvas.addEventListener('keydown', (event) => {
      const moves: Readonly<Record<string, () => void>> = {
        ArrowRight: () => this.#step(1, 0),
        ArrowLeft: () => this.#step(-1, 0),
        ArrowDown: () => this.#step(0, 1),
        ArrowUp: () => this.#step(0, -1),
        PageDown: () => this.#scrollTo(this.#offset + this.#viewHeight * 0.9),
        PageUp: () => this.#scrollTo(this.#offset - this.#viewHeight * 0.9),
        Home: () => this.#scrollTo(0),
        End: () => this.#scrollTo(this.#height),
        '+': () => this.#zoom(0.5),
        '=': () => this.#zoom(0.5),
        '-': () => this.#zoom(2),
        '0': () => this.#fit(),
      };
      const move = event.ctrlKey || event.metaKey || event.altKey ? undefined : moves[event.key];
      if (move === undefined) return;
      event.preventDefault();
      move();
    });
  }
}
