/** The playground: a page that runs PAGEMAP_SCAN in the browser, on simulated memory. */
import { categoryNames } from '../abi/index.js';
import { PAGE_KINDS } from '../query/internal.js';
import type { Op } from '../scenario/internal.js';
import { KERNEL_PROFILES, type KernelProfileName } from '../sim/index.js';
import { el, setText, ThemeSwitch } from '../web/page/index.js';
import { EXAMPLES } from './examples.js';
import { memoryForm, ScanForm } from './forms.js';
import { decodeLink, encodeLink } from './link.js';
import { MemoryView, type Selection } from './memory.js';
import {
  ARENA_PAGES,
  describe,
  describeAnswer,
  fromText,
  type Outcome,
  play,
  reported,
  toText,
} from './play.js';

const PROFILES = Object.keys(KERNEL_PROFILES) as KernelProfileName[];
const NO_OTHER = 'no other';

class Playground {
  readonly #theme = new ThemeSwitch();
  #ops: Op[] = [];
  /** How many of them have been done, of the state that is shown. */
  #done = 0;
  /** What the first operations gave, by their number and the release: a selection that is drawn shows all anew many times. */
  readonly #played = new Map<string, Outcome>();
  #selection: Selection = { at: 0, pages: 64 };
  readonly #views = [0, 1].map(() => new MemoryView((selection) => this.#select(selection)));
  readonly #profile = this.#chooser('release', PROFILES, '7.3');
  readonly #other = this.#chooser('compared with', [NO_OTHER, ...PROFILES], NO_OTHER);
  readonly #at = this.#number('first page', 0, ARENA_PAGES - 1);
  readonly #pages = this.#number('number of pages', 1, ARENA_PAGES);
  readonly #scanForm = new ScanForm(
    () => this.#selection,
    (op) => this.#add(op),
  );
  readonly #steps = el('ol', { className: 'steps' });
  readonly #regions = el('div');
  readonly #message = el('p', { className: 'dim', attributes: { role: 'status' } });
  readonly #says = el('p', { className: 'says' });

  constructor(root: HTMLElement) {
    root.append(this.#head(), this.#says, this.#body());
    this.#theme.onChange(() => this.#show());
    addEventListener('hashchange', () => void this.#open());
    void this.#open();
  }

  #chooser(label: string, names: readonly string[], value: string): HTMLSelectElement {
    const options = names.map((name) =>
      el('option', { value: name, textContent: name === NO_OTHER ? name : `Linux ${name}` }),
    );
    const chooser = el('select', { attributes: { 'aria-label': label } }, ...options);
    chooser.value = value;
    chooser.addEventListener('change', () => this.#show());
    return chooser;
  }

  #number(label: string, min: number, max: number): HTMLInputElement {
    const input = el('input', { type: 'number', attributes: { 'aria-label': label, min, max } });
    input.addEventListener('change', () => {
      const at = Math.min(Math.max(Math.trunc(this.#at.valueAsNumber) || 0, 0), ARENA_PAGES - 1);
      const pages = Math.min(Math.max(Math.trunc(this.#pages.valueAsNumber) || 1, 1), ARENA_PAGES - at);
      this.#select({ at, pages });
    });
    return input;
  }

  #head(): HTMLElement {
    const examples = el(
      'select',
      { attributes: { 'aria-label': 'example' } },
      el('option', { value: '', textContent: 'examples …' }),
      ...EXAMPLES.map(({ title }, index) => el('option', { value: String(index), textContent: title })),
    );
    examples.addEventListener('change', () => {
      const example = EXAMPLES[Number(examples.value)];
      if (examples.value !== '' && example) this.#load(example.ops, example.says);
    });
    return el(
      'header',
      null,
      el('h1', { textContent: 'PAGEMAP_SCAN playground' }),
      examples,
      this.#profile,
      el('span', { className: 'dim', textContent: 'beside' }),
      this.#other,
      el('span', { className: 'spring' }),
      el('button', { textContent: 'copy link', onclick: () => void this.#share() }),
      el('button', { textContent: 'save file', onclick: () => this.#save() }),
      el('button', { textContent: 'start over', onclick: () => this.#load([], '') }),
      el('button', {
        textContent: 'light or dark',
        onclick: () => this.#theme.set(this.#theme.dark ? 'light' : 'dark'),
      }),
    );
  }

  #body(): HTMLElement {
    const legend = PAGE_KINDS.map((kind) =>
      el('span', { className: 'kind' }, el('span', { className: `swatch ${kind}` }), kind),
    );
    const left = el(
      'div',
      { className: 'column' },
      ...this.#views.map(({ element }) => element),
      el(
        'p',
        { className: 'legend' },
        ...legend,
        el('span', { className: 'dim', textContent: 'a dot in it: tracked, and written' }),
      ),
      el(
        'section',
        { className: 'card' },
        el('h2', { textContent: 'What was done' }),
        this.#steps,
        this.#message,
      ),
    );
    const memory = el(
      'section',
      { className: 'card' },
      el('h2', { textContent: 'Memory' }),
      el(
        'div',
        { className: 'row' },
        el('label', null, 'page ', this.#at),
        el('label', null, 'pages ', this.#pages),
      ),
      memoryForm(
        () => this.#selection,
        () => this.#ops.slice(0, this.#done),
        (...ops) => this.#add(...ops),
      ),
    );
    const scan = el(
      'section',
      { className: 'card' },
      el('h2', { textContent: 'PAGEMAP_SCAN' }),
      this.#scanForm.element,
    );
    const found = el(
      'section',
      { className: 'card' },
      el('h2', { textContent: 'What it answers' }),
      this.#regions,
    );
    return el('main', null, left, el('div', { className: 'column' }, memory, scan, found));
  }

  /** Adds behind what is shown: what came after it is gone, as with undo. */
  #add(...ops: Op[]): void {
    this.#ops = [...this.#ops.slice(0, this.#done), ...ops];
    this.#done = this.#ops.length;
    this.#played.clear();
    this.#show();
  }

  #load(ops: readonly Op[], says: string): void {
    this.#ops = [...ops];
    this.#done = ops.length;
    this.#played.clear();
    setText(this.#says, says);
    setText(this.#message, '');
    this.#show();
  }

  #select(selection: Selection): void {
    this.#selection = selection;
    this.#show();
  }

  async #open(): Promise<void> {
    const link = location.hash.slice(1);
    if (link === '') {
      this.#load(EXAMPLES[0]!.ops, EXAMPLES[0]!.says);
      return;
    }
    try {
      this.#load(fromText(await decodeLink(link)), '');
    } catch (error) {
      this.#load([], '');
      setText(this.#message, (error as Error).message);
    }
  }

  async #share(): Promise<void> {
    const url = new URL(location.href);
    url.hash = await encodeLink(toText(this.#ops));
    history.replaceState(null, '', url);
    try {
      await navigator.clipboard.writeText(url.href);
      setText(this.#message, 'The link is in the clipboard, and in the address bar.');
    } catch {
      setText(this.#message, 'The link is in the address bar.');
    }
  }

  #save(): void {
    const profile = this.#profile.value as KernelProfileName;
    const text = toText(this.#ops, profile, this.#play(profile, this.#ops.length).answers);
    const href = URL.createObjectURL(new Blob([text], { type: 'application/jsonl' }));
    el('a', { href, download: 'playground.jsonl' }).click();
    URL.revokeObjectURL(href);
    setText(
      this.#message,
      'Saved: pmscan run playground.jsonl --on kernel --check tells whether your kernel answers so.',
    );
  }

  #play(name: KernelProfileName, count: number): Outcome {
    const key = `${count} ${name}`;
    let outcome = this.#played.get(key);
    if (outcome === undefined) {
      outcome = play(this.#ops.slice(0, count), name);
      this.#played.set(key, outcome);
    }
    return outcome;
  }

  #show(): void {
    const names = [this.#profile.value, this.#other.value].filter(
      (name) => name !== NO_OTHER,
    ) as KernelProfileName[];
    const last = this.#ops[this.#done - 1];
    const all = names.map((name) => this.#play(name, this.#ops.length).answers);
    const now = names.map((name) => this.#play(name, this.#done));
    for (const [index, view] of this.#views.entries()) {
      const outcome = now[index];
      view.element.hidden = outcome === undefined;
      if (outcome === undefined) continue;
      view.show({
        title: `Linux ${names[index]}`,
        outcome,
        selection: this.#selection,
        reported: last?.op === 'scan' ? reported(outcome.answers.at(-1)) : [],
        palette: this.#theme.palette,
      });
    }
    this.#at.value = String(this.#selection.at);
    this.#pages.value = String(this.#selection.pages);
    this.#scanForm.show();
    this.#showSteps(all);
    this.#regions.replaceChildren(...now.map((outcome, index) => regionTable(names[index]!, last, outcome)));
  }

  #showSteps(all: readonly Outcome['answers'][]): void {
    const rows = this.#ops.map((op, index) => {
      const answers = all.map((each) => describeAnswer(each[index]));
      const differs = new Set(all.map((each) => JSON.stringify(each[index]))).size > 1;
      const go = el('button', {
        className: 'step',
        textContent: describe(op),
        title: 'Show the memory as it was after this',
        onclick: () => {
          this.#done = index + 1;
          this.#show();
        },
      });
      const row = el('li', null, go, el('span', { className: 'answer', textContent: answers.join(' / ') }));
      row.classList.toggle('later', index >= this.#done);
      row.classList.toggle('now', index === this.#done - 1);
      row.classList.toggle('differs', differs);
      if (differs) row.append(el('strong', { textContent: 'differs' }));
      return row;
    });
    this.#steps.replaceChildren(...rows);
  }
}

/** What a scan answered, or that it is none. */
function regionTable(name: string, op: Op | undefined, outcome: Outcome): HTMLElement {
  const answer = outcome.answers.at(-1);
  if (op?.op !== 'scan')
    return el('p', { className: 'dim', textContent: 'Nothing yet: scan is the last of what was done.' });
  const head = ['page', 'pages', 'categories'].map((text) => el('th', { textContent: text, scope: 'col' }));
  const rows = reported(answer).map(({ at, pages, categories }) =>
    el(
      'tr',
      null,
      ...[String(at), String(pages), categoryNames(categories).join(' ') || '–'].map((text) =>
        el('td', { textContent: text }),
      ),
    ),
  );
  return el(
    'div',
    null,
    el('p', { textContent: `Linux ${name}: ${describeAnswer(answer)}` }),
    rows.length > 0 &&
      el(
        'table',
        { className: 'regions' },
        el('thead', null, el('tr', null, ...head)),
        el('tbody', null, ...rows),
      ),
  );
}

new Playground(document.querySelector<HTMLElement>('#app')!);
