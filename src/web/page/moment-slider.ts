/** Moves through snapshots: a slider, steps, and which one is shown. */
import { el, setAttribute, setText } from './dom.js';
import { humanCount, pagesText, plural } from './format.js';
import type { Moments } from './moments.js';
import type { Store } from './store.js';

/** As `pmscan snap list` has it, in the reader's time zone. */
function momentTime(store: Store, atMs: number): string {
  const time = new Date((store.about?.beganAt ?? 0) + atMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('-');
  const clock = [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':');
  return `${day} ${clock}.${Math.floor(time.getMilliseconds() / 100)}`;
}

export class MomentSlider {
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #range = el('input', {
    type: 'range',
    id: 'moment',
    min: '0',
    step: '1',
    attributes: { 'aria-label': 'Snapshot' },
  });
  readonly #text = el('output', { className: 'moment-text', attributes: { for: 'moment' } });
  readonly #before = el('button', { type: 'button', textContent: '‹', title: 'The snapshot before' });
  readonly #next = el('button', { type: 'button', textContent: '›', title: 'The next snapshot' });

  constructor(store: Store) {
    this.#store = store;
    setAttribute(this.#before, 'aria-label', 'The snapshot before');
    setAttribute(this.#next, 'aria-label', 'The next snapshot');
    this.element = el(
      'div',
      { className: 'moments', hidden: true, attributes: { role: 'group', 'aria-label': 'Time' } },
      el('div', { className: 'buttons' }, this.#before, this.#next),
      this.#range,
      this.#text,
    );
    this.#range.addEventListener('input', () => store.showMoment(Number(this.#range.value)));
    this.#before.addEventListener('click', () => this.#step(-1));
    this.#next.addEventListener('click', () => this.#step(1));
    store.on(['model', 'layout'], () => this.#draw());
  }

  #step(by: number): void {
    const { moments } = this.#store;
    if (moments !== undefined) this.#store.showMoment(moments.index + by);
  }

  #draw(): void {
    const { moments } = this.#store;
    this.element.hidden = moments === undefined || moments.list.length < 2;
    if (moments === undefined) return;
    this.#range.max = String(moments.list.length - 1);
    this.#range.value = String(moments.index);
    this.#before.disabled = moments.index === 0;
    this.#next.disabled = moments.index === moments.list.length - 1;
    const text = this.#describe(moments);
    setAttribute(this.#range, 'aria-valuetext', text);
    setText(this.#text, text);
  }

  #describe({ index, list, current: { number, atMs, changedPages } }: Moments): string {
    const what =
      index === 0
        ? 'the first snapshot'
        : `${plural(changedPages, 'page')} changed (${pagesText(changedPages)}) since snapshot ${list[index - 1]!.number}`;
    return `Snapshot ${number}, ${humanCount(index + 1)} of ${humanCount(list.length)}, ${momentTime(this.#store, atMs)}: ${what}`;
  }
}

/** From few to all of a cell's pages. */
export class ChangeLegend {
  readonly element = el(
    'div',
    {
      className: 'legend changes',
      hidden: true,
      title: "The share of a cell's pages whose bytes differ from those in the snapshot before",
    },
    el('span', { className: 'dim', textContent: 'Changed since the snapshot before: few' }),
    el('span', { className: 'ramp', attributes: { 'aria-hidden': true } }),
    el('span', { className: 'dim', textContent: 'all pages' }),
  );
}
