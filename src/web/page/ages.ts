/** How long pages were left alone, as words and as a legend. */
import { AGE_CLASSES, AGE_LIMITS_MS, type MappingModel } from '../../model/index.js';
import { el, setText } from './dom.js';
import { pagesText } from './format.js';
import { passes, type Store } from './store.js';

function limitText(milliseconds: number): string {
  if (milliseconds < 60_000) return `${milliseconds / 1000} s`;
  return milliseconds < 3_600_000 ? `${milliseconds / 60_000} min` : `${milliseconds / 3_600_000} h`;
}

/** By class: `< 1 s`, …, `≥ 1 h`. */
export const AGE_TITLES: readonly string[] = [
  ...AGE_LIMITS_MS.map((limit) => `< ${limitText(limit)}`),
  `≥ ${limitText(AGE_LIMITS_MS.at(-1)!)}`,
];

/** Pages by class of age, added up. */
export function sumAges(mappings: readonly MappingModel[]): number[] {
  const totals = new Array<number>(AGE_CLASSES).fill(0);
  for (const { ages = [] } of mappings) {
    for (const [index, pages] of ages.entries()) totals[index]! += pages;
  }
  return totals;
}

/** Each class of age with its colour and how much memory is in it. */
export class AgeLegend {
  readonly element = el('div', {
    className: 'legend ages',
    hidden: true,
    attributes: { role: 'group', 'aria-label': 'Time since memory was last touched' },
  });
  readonly #store: Store;
  readonly #amounts: HTMLElement[];

  constructor(store: Store) {
    this.#store = store;
    this.element.append(el('span', { className: 'dim', textContent: 'Last touched' }));
    this.#amounts = AGE_TITLES.map((title, index) => {
      const amount = el('span', { className: 'amount' });
      this.element.append(
        el('span', { className: 'key' }, el('span', { className: `swatch age-${index}` }), title, amount),
      );
      return amount;
    });
    this.element.title =
      'The time since memory was last touched. Memory that was not touched since pmscan began to look is at least as old as that';
  }

  draw(): void {
    const { filter, mappings } = this.#store;
    const totals = sumAges(mappings.filter((mapping) => passes(filter, mapping)));
    this.#amounts.forEach((amount, index) => {
      setText(amount, pagesText(totals[index]!));
    });
  }
}
