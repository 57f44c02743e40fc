/** What is where: how much memory there is of each kind, and in which mappings. */
import { PAGE_SIZE } from '../../abi/index.js';
import { MAPPING_KINDS, type MappingModel, OWNER_KINDS, UNTOUCHED, unknownKinds } from '../../model/index.js';
import { PAGE_KINDS } from '../../query/internal.js';
import { el, setAttribute, setText } from './dom.js';
import {
  hex,
  humanBytes,
  KIND_HELP,
  KIND_TITLES,
  label,
  MAPPING_TITLES,
  NOT_KNOWN,
  ownerTitle,
  pagesText,
  plural,
} from './format.js';
import {
  type Filter,
  NO_FILTER,
  NO_OWNER,
  type OwnerKey,
  ownerKey,
  passes,
  type Store,
  sumPages,
} from './store.js';
import { Table } from './table.js';
import type { View } from './view.js';

/** A bar of parts; the widths are shares of `most`. */
class Bar {
  readonly element = el('span', { className: 'bar', attributes: { 'aria-hidden': true } });
  readonly #parts: HTMLElement[];

  constructor() {
    this.#parts = PAGE_KINDS.map((kind) => el('span', { className: `part ${kind}` }));
    this.element.append(...this.#parts);
  }

  set(pages: readonly number[], most: number): void {
    this.#parts.forEach((part, kind) => {
      const share = most === 0 ? 0 : pages[kind]! / most;
      part.hidden = share === 0;
      part.style.width = `${share * 100}%`;
      part.title = `${KIND_TITLES[PAGE_KINDS[kind]!]}: ${pagesText(pages[kind]!)}`;
    });
  }
}

/** Each kind of page with its colour and how much there is of it; pressed, it is the only one that is shown. */
export class Legend {
  readonly element = el('div', {
    className: 'legend',
    attributes: { role: 'group', 'aria-label': 'Kinds of pages: press one to see only this kind' },
  });
  readonly #store: Store;
  readonly #amounts: HTMLElement[] = [];
  readonly #buttons: HTMLButtonElement[] = [];

  constructor(store: Store) {
    this.#store = store;
    PAGE_KINDS.forEach((kind, index) => {
      const amount = el('span', { className: 'amount' });
      const button = el(
        'button',
        { type: 'button', className: 'key', title: KIND_HELP[kind] },
        el('span', { className: `swatch ${kind}` }),
        KIND_TITLES[kind],
        amount,
      );
      button.addEventListener('click', () => store.togglePageKind(index));
      this.#amounts.push(amount);
      this.#buttons.push(button);
      this.element.append(button);
    });
  }

  draw(): void {
    const { filter } = this.#store;
    const totals = sumPages(this.#store.mappings.filter((mapping) => passes(filter, mapping)));
    const unknown = unknownKinds(this.#store.mappings);
    this.#buttons.forEach((button, kind) => {
      setText(this.#amounts[kind]!, unknown.has(kind) ? NOT_KNOWN : pagesText(totals[kind]!));
      button.disabled = unknown.has(kind);
      setAttribute(button, 'aria-pressed', filter.pageKinds.has(kind));
      button.classList.toggle('faded', filter.pageKinds.size > 0 && !filter.pageKinds.has(kind));
      button.classList.toggle('none', totals[kind] === 0);
    });
  }
}

/** Pages of the kinds that the filter lets through, the others 0; untouched ones only on demand. */
function chosen(pages: readonly (number | null)[], store: Store, untouched: boolean): number[] {
  const { pageKinds } = store.filter;
  return pages.map((known, kind) => {
    const count = known ?? 0;
    if (pageKinds.size > 0) return pageKinds.has(kind) ? count : 0;
    return kind === UNTOUCHED && !untouched ? 0 : count;
  });
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, value) => total + value, 0);
const NOTHING: readonly number[] = PAGE_KINDS.map(() => 0);

/** One line of the picture: a kind of mapping, or of owner. */
class GroupRow {
  readonly element: HTMLButtonElement;
  readonly #bar = new Bar();
  readonly #there = el('span', { className: 'number' });
  readonly #mapped = el('span', { className: 'number dim' });
  readonly #count = el('span', { className: 'number dim' });

  constructor(title: string, onPress: () => void) {
    this.element = el(
      'button',
      { type: 'button', className: 'kind-row' },
      el('span', { className: 'kind-name', textContent: title, title }),
      this.#bar.element,
      this.#there,
      this.#mapped,
      this.#count,
    );
    this.element.addEventListener('click', onPress);
  }

  set(mappings: readonly MappingModel[], pages: readonly number[], most: number, pressed: boolean): void {
    const mapped = sum(mappings.map(({ start, end }) => end - start));
    this.#bar.set(pages, most);
    setText(this.#there, pagesText(sum(pages)));
    setText(this.#mapped, humanBytes(mapped));
    setText(this.#count, String(mappings.length));
    this.element.hidden = mappings.length === 0;
    setAttribute(this.element, 'aria-pressed', pressed);
  }
}

/** A way to group mappings. The rows stay in their places, whatever is in them. */
interface Grouping {
  readonly title: string;
  readonly rows: ReadonlyMap<string, GroupRow>;
  readonly button: HTMLButtonElement;
  keyOf(mapping: MappingModel): string;
  /** What is chosen of it, and the filter without that. */
  chosen(filter: Filter): ReadonlySet<string>;
  without(filter: Filter): Filter;
}

function groupings(store: Store): readonly Grouping[] {
  const button = (textContent: string) => el('button', { type: 'button', textContent });
  const owners: OwnerKey[] = [...(Object.keys(OWNER_KINDS) as OwnerKey[]), NO_OWNER];
  return [
    {
      title: 'By kind of mapping',
      rows: new Map(
        MAPPING_KINDS.map((kind) => [
          kind,
          new GroupRow(MAPPING_TITLES[kind], () => store.toggleMappingKind(kind)),
        ]),
      ),
      button: button('By kind'),
      keyOf: ({ kind }) => kind,
      chosen: ({ mappingKinds }) => mappingKinds,
      without: (filter) => ({ ...filter, mappingKinds: NO_FILTER.mappingKinds }),
    },
    {
      title: 'By owner',
      rows: new Map(
        owners.map((key) => [key, new GroupRow(ownerTitle(key), () => store.toggleOwnerKind(key))]),
      ),
      button: button('By owner'),
      keyOf: ownerKey,
      chosen: ({ ownerKinds }) => ownerKinds,
      without: (filter) => ({ ...filter, ownerKinds: NO_FILTER.ownerKinds }),
    },
  ];
}

export class WhereView implements View {
  readonly title = 'What is where';
  readonly id = 'where';
  readonly element: HTMLElement;
  readonly #store: Store;
  readonly #legend: Legend;
  readonly #groupings: readonly Grouping[];
  #grouping: Grouping;
  readonly #groupTitle = el('h2', { className: 'unseen' });
  readonly #untouched = el('input', { type: 'checkbox' });
  readonly #table: Table<MappingModel>;
  readonly #count = el('span', { className: 'dim' });
  readonly #bars = new WeakMap<HTMLElement, Bar>();
  #most = 0;

  constructor(store: Store, openMap: (mapping: MappingModel) => void) {
    this.#store = store;
    this.#legend = new Legend(store);
    this.#groupings = groupings(store);
    this.#grouping = this.#groupings[0]!;
    for (const grouping of this.#groupings)
      grouping.button.addEventListener('click', () => {
        this.#grouping = grouping;
        this.draw();
      });
    this.#table = new Table<MappingModel>(
      'Mappings',
      [
        { title: 'Address', mono: true, text: ({ start }) => hex(start), order: ({ start }) => start },
        { title: 'Access', mono: true, text: ({ perms }) => perms, order: ({ perms }) => perms },
        {
          title: 'Size',
          align: 'right',
          text: ({ start, end }) => humanBytes(end - start),
          order: ({ start, end }) => end - start,
        },
        {
          title: 'Touched',
          align: 'right',
          text: (mapping) => pagesText(sum(this.#chosen(mapping))),
          order: (mapping) => sum(this.#chosen(mapping)),
        },
        {
          title: 'Pages',
          text: ({ pages }) => describe(pages),
          draw: (mapping, cell) => this.#drawBar(mapping, cell),
        },
        {
          title: 'Name',
          wide: true,
          text: (mapping) =>
            `${label(mapping)}${mapping.deleted && mapping.owner === undefined ? ' (deleted)' : ''}`,
          order: (mapping) => label(mapping),
        },
      ],
      { sortBy: 3, empty: 'No mapping matches the filter', onPick: openMap },
    );
    this.#untouched.addEventListener('change', () => this.draw());
    this.element = el(
      'div',
      { className: 'view where' },
      el(
        'section',
        { className: 'card', attributes: { 'aria-label': 'Sums' } },
        el(
          'div',
          { className: 'card-head' },
          this.#groupTitle,
          this.#legend.element,
          el('span', { className: 'spring' }),
          el(
            'span',
            { className: 'buttons', attributes: { role: 'group', 'aria-label': 'Sums' } },
            ...this.#groupings.map(({ button }) => button),
          ),
        ),
        el(
          'div',
          { className: 'kinds' },
          el(
            'div',
            { className: 'kind-row heading' },
            el('label', { className: 'check' }, this.#untouched, 'Show untouched address space'),
            el('span', { className: 'number', textContent: 'Touched' }),
            el('span', { className: 'number', textContent: 'Mapped' }),
            el('span', { className: 'number', textContent: 'Count' }),
          ),
          ...this.#groupings.flatMap(({ rows }) => [...rows.values()].map(({ element }) => element)),
        ),
      ),
      el(
        'section',
        { className: 'card grow', attributes: { 'aria-label': 'Mappings' } },
        el('div', { className: 'card-head' }, el('h2', { textContent: 'Mappings' }), this.#count),
        this.#table.element,
      ),
    );
    store.on(['layout', 'filter'], () => this.draw());
  }

  #chosen({ pages }: MappingModel): number[] {
    return chosen(pages ?? NOTHING, this.#store, this.#untouched.checked);
  }

  #drawBar(mapping: MappingModel, cell: HTMLElement): void {
    let bar = this.#bars.get(cell);
    if (bar === undefined) {
      bar = new Bar();
      this.#bars.set(cell, bar);
      cell.replaceChildren(bar.element);
    }
    bar.set(this.#chosen(mapping), this.#most);
  }

  #drawGroups(grouping: Grouping, mappings: readonly MappingModel[], filter: Filter): void {
    const isShown = grouping === this.#grouping;
    setAttribute(grouping.button, 'aria-pressed', isShown);
    if (isShown) setText(this.#groupTitle, grouping.title);
    const others = grouping.without(filter);
    const groups = new Map<string, MappingModel[]>();
    for (const mapping of isShown ? mappings : []) {
      if (!passes(others, mapping)) continue;
      const group = groups.get(grouping.keyOf(mapping));
      if (group === undefined) groups.set(grouping.keyOf(mapping), [mapping]);
      else group.push(mapping);
    }
    const pages = new Map(
      [...groups].map(([key, group]) => [key, chosen(sumPages(group), this.#store, this.#untouched.checked)]),
    );
    const most = [...pages.values()].reduce((least, each) => Math.max(least, sum(each)), 0);
    const pressed = grouping.chosen(filter);
    for (const [key, row] of grouping.rows) {
      row.set(groups.get(key) ?? [], pages.get(key) ?? NOTHING, most, pressed.has(key));
      row.element.classList.toggle('faded', pressed.size > 0 && !pressed.has(key));
    }
  }

  draw(): void {
    if (this.element.hidden) return;
    const { mappings, filter } = this.#store;
    for (const grouping of this.#groupings) this.#drawGroups(grouping, mappings, filter);
    this.#legend.draw();
    let rows = mappings.filter((mapping) => passes(filter, mapping));
    if (filter.pageKinds.size > 0) rows = rows.filter((mapping) => sum(this.#chosen(mapping)) > 0);
    this.#most = rows.reduce((least, mapping) => Math.max(least, sum(this.#chosen(mapping))), 0);
    this.#table.set(rows);
    const bytes = rows.reduce((total, { start, end }) => total + end - start, 0);
    const resident = sum(rows.map((mapping) => sum(this.#chosen(mapping)))) * PAGE_SIZE;
    setText(
      this.#count,
      `${plural(rows.length, 'mapping')}, ${humanBytes(resident)} touched of ${humanBytes(bytes)} of address space`,
    );
  }
}

/** Pages in words: `33 anonymous, 2 swapped`. */
function describe(pages: MappingModel['pages']): string {
  if (pages === undefined) return 'not counted yet';
  const parts = PAGE_KINDS.map((kind, index) => [pages[index] ?? 0, kind] as const).filter(
    ([count]) => count > 0,
  );
  return parts.map(([count, kind]) => `${count} ${kind}`).join(', ');
}
