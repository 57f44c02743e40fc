/** The picture of the memory: a cell for each page. */
import {
  categoryNames,
  PAGE_IS_GUARD,
  PAGE_IS_PRESENT,
  PAGE_IS_SWAPPED,
  PAGE_IS_WPALLOWED,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
} from '../abi/index.js';
import { PAGE_KINDS, pageKindIndex } from '../query/internal.js';
import { el, onFrame, type Palette, pixelRatio, setText } from '../web/page/index.js';
import { ARENA, ARENA_PAGES, type Outcome } from './play.js';

const COLUMNS = 64;
const CELL = 11;
const GAP = 1;
const STEP = CELL + GAP;
const UNTOUCHED = PAGE_KINDS.indexOf('untouched');
const ROWS = ARENA_PAGES / COLUMNS;

export interface Selection {
  readonly at: number;
  readonly pages: number;
}

/** What a picture shows. */
export interface Shown {
  readonly title: string;
  readonly outcome: Outcome;
  readonly selection: Selection;
  /** Pages that the scan in question reported. */
  readonly reported: readonly Selection[];
  readonly palette: Palette;
}

/** What a page is, in words. */
export function pageText(outcome: Outcome, page: number): string {
  const address = `page ${page}, 0x${(ARENA + page * PAGE_SIZE).toString(16)}: `;
  if (outcome.mapped[page] === 0) return `${address}not mapped`;
  const names = categoryNames(outcome.categories[page]!);
  return address + (names.length === 0 ? 'mapped, nothing there' : names.join(', '));
}

/** How many pages of each kind there are, in words: the picture for those who do not see it. */
export function kindsText({ mapped, categories }: Outcome): string {
  const counts = new Map<string, number>();
  for (let page = 0; page < ARENA_PAGES; page++) {
    const name = mapped[page] === 0 ? 'not mapped' : PAGE_KINDS[kindOf(categories[page]!)]!;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
}

/** Other categories may be told of pages that are not there. */
const THERE = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_GUARD;

function kindOf(categories: number): number {
  return (categories & THERE) === 0 ? UNTOUCHED : pageKindIndex(categories);
}

export class MemoryView {
  readonly element: HTMLElement;
  readonly #title = el('h2');
  readonly #canvas = el('canvas', { className: 'memory', attributes: { role: 'img' } });
  readonly #detail = el('p', { className: 'dim detail' });
  #shown: Shown | undefined;
  #from: number | undefined;
  readonly #draw = onFrame(() => this.#paint());

  /** @param onSelect gets what the reader drags over */
  constructor(onSelect: (selection: Selection) => void) {
    const canvas = this.#canvas;
    this.element = el('section', { className: 'card' }, this.#title, canvas, this.#detail);
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#from = this.#pageAt(event);
      onSelect({ at: this.#from, pages: 1 });
    });
    canvas.addEventListener('pointermove', (event) => {
      const page = this.#pageAt(event);
      if (this.#shown) setText(this.#detail, pageText(this.#shown.outcome, page));
      if (this.#from === undefined) return;
      onSelect({ at: Math.min(page, this.#from), pages: Math.abs(page - this.#from) + 1 });
    });
    for (const type of ['pointerup', 'pointercancel'] as const)
      canvas.addEventListener(type, () => {
        this.#from = undefined;
      });
    canvas.addEventListener('pointerleave', () => this.#tellKinds());
  }

  show(shown: Shown): void {
    this.#shown = shown;
    setText(this.#title, shown.title);
    this.#canvas.setAttribute('aria-label', `${shown.title}: ${kindsText(shown.outcome)}`);
    if (this.#from === undefined) this.#tellKinds();
    this.#draw();
  }

  #tellKinds(): void {
    if (this.#shown) setText(this.#detail, kindsText(this.#shown.outcome));
  }

  #pageAt({ clientX, clientY }: PointerEvent): number {
    const box = this.#canvas.getBoundingClientRect();
    const cell = (at: number, length: number, count: number) =>
      Math.min(Math.max(Math.floor((at / length) * count), 0), count - 1);
    const column = cell(clientX - box.left, box.width, COLUMNS);
    return cell(clientY - box.top, box.height, ROWS) * COLUMNS + column;
  }

  #paint(): void {
    const shown = this.#shown;
    const context = this.#canvas.getContext('2d');
    if (shown === undefined || context === null) return;
    const ratio = pixelRatio();
    this.#canvas.width = COLUMNS * STEP * ratio;
    this.#canvas.height = ROWS * STEP * ratio;
    context.scale(ratio, ratio);
    const { outcome, palette, selection, reported } = shown;
    for (let page = 0; page < ARENA_PAGES; page++) paintPage(context, outcome, page, palette);
    context.lineWidth = 2;
    context.strokeStyle = palette.text;
    for (const part of reported) outline(context, part);
    context.strokeStyle = palette.accent;
    outline(context, selection);
  }
}

const placeOf = (page: number): [x: number, y: number] => [
  (page % COLUMNS) * STEP,
  Math.floor(page / COLUMNS) * STEP,
];

function paintPage(
  context: CanvasRenderingContext2D,
  outcome: Outcome,
  page: number,
  palette: Palette,
): void {
  const [x, y] = placeOf(page);
  if (outcome.mapped[page] === 0) {
    context.fillStyle = palette.line;
    context.fillRect(x + 5, y + 5, 1, 1);
    return;
  }
  const categories = outcome.categories[page]!;
  context.fillStyle = palette.kinds[kindOf(categories)]!;
  context.fillRect(x, y, CELL, CELL);
  // Only of what is tracked it says anything.
  if ((categories & PAGE_IS_WRITTEN) === 0 || (categories & PAGE_IS_WPALLOWED) === 0) return;
  context.fillStyle = palette.panel;
  context.fillRect(x + 4, y + 4, 3, 3);
}

/** The rows of a range, each with a line around it. */
function outline(context: CanvasRenderingContext2D, { at, pages }: Selection): void {
  for (let from = at; from < at + pages; ) {
    const to = Math.min(at + pages, (Math.floor(from / COLUMNS) + 1) * COLUMNS);
    const [x, y] = placeOf(from);
    context.strokeRect(x, y, (to - from) * STEP - GAP, CELL);
    from = to;
  }
}
