/** The page: its head, its tabs, and where its data comes from, a stream or itself. */
import { PAGE_SIZE } from '../../abi/index.js';
import {
  type MappingKind,
  type PageModel,
  type StreamMessage,
  SUBJECT_TITLES,
  UNTOUCHED,
} from '../../model/index.js';
import { PAGE_KINDS } from '../../query/internal.js';
import { append, el, setAttribute, setText } from './dom.js';
import {
  clock,
  humanBytes,
  KIND_TITLES,
  label,
  MAPPING_TITLES,
  ownerTitle,
  pagesText,
  percent,
  plural,
  printable,
  rateText,
  wordsOf,
} from './format.js';
import { HeatView } from './heat.js';
import { MapView } from './map.js';
import { MomentSlider } from './moment-slider.js';
import { Picker, type ProcessList } from './picker.js';
import { RatesView } from './rates.js';
import { bytesPerSecond, isFiltered, NO_FILTER, passes, Store, sumPages } from './store.js';
import { THEMES, ThemeSwitch } from './theme.js';
import { FileTiles, LiveTiles } from './tiles.js';
import type { View } from './view.js';
import { WhereView } from './where.js';

/** A pause may hold back so many messages; a longer one ends the stream, and begins anew. */
const MOST_HELD = 900;

/** Processes given to the command that have a button of their own; the list has all. */
const MOST_OFFERED = 6;

const store = new Store();
const theme = new ThemeSwitch();

/** A figure of the strip under the head. */
class Figure {
  readonly element: HTMLElement;
  readonly #title: HTMLElement;
  readonly #value = el('dd');

  constructor(title: string, help: string) {
    this.#title = el('dt', { textContent: title });
    this.element = el('div', { className: 'figure', title: help }, this.#title, this.#value);
  }

  set(text: string): void {
    setText(this.#value, text);
  }

  name(title: string, help: string): void {
    setText(this.#title, title);
    this.element.title = help;
  }
}

class Page {
  readonly #views: readonly View[];
  readonly #map: MapView;
  readonly #tabs: HTMLButtonElement[];
  readonly #name = el('span', { className: 'process-name' });
  readonly #status = el('span', { className: 'status', attributes: { role: 'status' } });
  readonly #pause = el('button', {
    type: 'button',
    textContent: 'Pause',
    attributes: { 'aria-pressed': false },
  });
  /** What is tracked, where there is a choice. */
  readonly #subjects = el('div', {
    className: 'buttons',
    hidden: true,
    attributes: { role: 'group', 'aria-label': 'What is tracked' },
  });
  readonly #save = el('a', { className: 'button', textContent: 'Save report', download: '' });
  readonly #choose = el('button', { type: 'button', className: 'choose', title: 'Choose another process' });
  /** The processes that the command was given, where there are several. */
  readonly #given = el('div', {
    className: 'buttons given',
    hidden: true,
    attributes: { role: 'group', 'aria-label': 'Processes from the command line' },
  });
  readonly #search = el('input', {
    type: 'search',
    placeholder: 'Name or owner',
    spellcheck: false,
    attributes: { 'aria-label': 'Show mappings with this text in their name or owner' },
  });
  readonly #chips = el('div', { className: 'chips', attributes: { 'aria-label': 'Filters' } });
  readonly #notes = el('div', { className: 'notes' });
  readonly #figures = {
    mapped: new Figure('Mapped', 'Address space that is mapped'),
    resident: new Figure('In memory', 'Pages that are in memory now, including shared pages'),
    swapped: new Figure('Swapped', 'Pages that are swapped out, or that the kernel marks as swapped'),
    written: new Figure('Written', 'Memory that was written per second in the last interval'),
    set: new Figure('Working set, 10 s', 'Distinct memory written in the last 10 seconds'),
    cost: new Figure(
      'Cost to the process',
      'An estimate of what tracking cost the process in the last interval, as a share of one core: additional page faults, and stops',
    ),
    own: new Figure('Cost of pmscan', 'The share of one core that pmscan itself took in the last interval'),
  };
  readonly #picker = new Picker((pid) => {
    location.hash = `pid=${pid}`;
  });
  #stream: EventSource | undefined;
  #pid: number | undefined;
  #paused = false;
  #held: StreamMessage[] = [];
  /** Why nothing comes any more. */
  #lost: string | undefined;

  constructor(live: boolean) {
    const tiles = live ? new LiveTiles(0, () => store.generation) : new FileTiles(store);
    this.#map = new MapView(store, theme, tiles);
    const where = new WhereView(store, (mapping) => {
      this.#open(this.#map);
      this.#map.show(mapping);
    });
    this.#views = [where, this.#map, new HeatView(store, theme), new RatesView(store, theme)];
    this.#tabs = this.#views.map((view) => this.#tab(view));
    this.#build(live);
    store.on(['model', 'tracking', 'heat', 'layout'], () => this.#drawHead());
    store.on(['filter', 'model'], () => this.#drawChips());
    this.#open(this.#views.find(({ id }) => id === wordOfHash('view')) ?? where);
    if (live) this.#connect();
    else this.#read();
  }

  #tab(view: View): HTMLButtonElement {
    const tab = el('button', {
      type: 'button',
      id: `tab-${view.id}`,
      textContent: view.title,
      attributes: { role: 'tab', 'aria-controls': `view-${view.id}` },
    });
    view.element.id = `view-${view.id}`;
    setAttribute(view.element, 'role', 'tabpanel');
    setAttribute(view.element, 'aria-labelledby', tab.id);
    tab.addEventListener('click', () => this.#open(view));
    tab.addEventListener('keydown', (event) => {
      const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
      if (by === 0) return;
      event.preventDefault();
      const next = (this.#views.indexOf(view) + by + this.#views.length) % this.#views.length;
      this.#open(this.#views[next]!);
      this.#tabs[next]!.focus();
    });
    return tab;
  }

  #open(view: View): void {
    this.#views.forEach((other, index) => {
      other.element.hidden = other !== view;
      setAttribute(this.#tabs[index]!, 'aria-selected', other === view);
      this.#tabs[index]!.tabIndex = other === view ? 0 : -1;
    });
    view.draw();
  }

  #build(live: boolean): void {
    const themes = THEMES.map((name) => {
      const button = el('button', { type: 'button', textContent: name[0]!.toUpperCase() + name.slice(1) });
      button.addEventListener('click', () => {
        theme.set(name);
        draw();
      });
      return button;
    });
    const draw = () => {
      themes.forEach((button, index) => {
        setAttribute(button, 'aria-pressed', THEMES[index] === theme.theme);
      });
    };
    draw();
    this.#choose.append(this.#name, el('span', { className: 'caret', attributes: { 'aria-hidden': true } }));
    this.#choose.disabled = !live;
    this.#choose.addEventListener('click', () => this.#picker.open());
    for (const subject of ['writes', 'accesses'] as const) {
      const button = el('button', {
        type: 'button',
        value: subject,
        textContent: SUBJECT_TITLES[subject],
        title:
          subject === 'writes'
            ? 'Tracks which memory is written, from now on, for all viewers'
            : 'Tracks which memory is read, written or executed, from now on, for all viewers. The first access to each page in an interval costs the process a page fault',
      });
      button.addEventListener('click', () => {
        if (this.#pid !== undefined) this.#look(this.#pid, subject);
      });
      this.#subjects.append(button);
    }
    this.#pause.addEventListener('click', () => this.#setPaused(!this.#paused));
    this.#search.addEventListener('input', () => store.setFilter({ text: this.#search.value.trim() }));
    append(document.getElementById('app')!, [
      el(
        'header',
        null,
        el('h1', { textContent: 'pmscan' }),
        this.#choose,
        this.#given,
        this.#status,
        el('span', { className: 'spring' }),
        live && this.#subjects,
        live && this.#pause,
        live && this.#save,
        el(
          'div',
          { className: 'buttons', attributes: { role: 'group', 'aria-label': 'Colours' } },
          ...themes,
        ),
      ),
      this.#notes,
      el('dl', { className: 'figures' }, ...Object.values(this.#figures).map(({ element }) => element)),
      el(
        'nav',
        null,
        el(
          'div',
          { className: 'tabs', attributes: { role: 'tablist', 'aria-label': 'Views' } },
          ...this.#tabs,
        ),
        el('span', { className: 'spring' }),
        this.#chips,
        this.#search,
      ),
      new MomentSlider(store).element,
      el('main', null, ...this.#views.map(({ element }) => element)),
      live && this.#picker.dialog,
    ]);
  }

  #read(): void {
    const text = document.getElementById('model')?.textContent ?? '';
    store.load(JSON.parse(text) as PageModel);
  }

  #connect(): void {
    addEventListener('hashchange', () => {
      const pid = Number(wordOfHash('pid'));
      if (pid > 0 && pid !== this.#pid) this.#look(pid);
    });
    // A page that nobody sees costs nothing.
    addEventListener('pagehide', () => this.#stream?.close());
    addEventListener('pageshow', (event) => {
      if (event.persisted && this.#pid !== undefined) this.#look(this.#pid);
    });
    void this.#begin();
  }

  async #begin(): Promise<void> {
    const pid = Number(wordOfHash('pid'));
    if (pid > 0) this.#look(pid);
    else this.#drawHead();
    try {
      const list = await this.#picker.load();
      this.#offer(list);
      if (pid > 0) return;
      if (list.chosen[0] !== undefined) location.hash = `pid=${list.chosen[0]}`;
      else this.#picker.open();
    } catch {
      this.#setLost();
    }
  }

  #offer({ chosen, processes }: ProcessList): void {
    if (chosen.length < 2) return;
    for (const pid of chosen.slice(0, MOST_OFFERED)) {
      const name = processes.find((listed) => listed.pid === pid)?.name;
      const button = el('button', {
        type: 'button',
        value: String(pid),
        textContent: name === undefined ? String(pid) : `${printable(name)} ${pid}`,
      });
      button.addEventListener('click', () => {
        location.hash = `pid=${pid}`;
      });
      this.#given.append(button);
    }
    this.#given.hidden = false;
    this.#drawHead();
  }

  #look(pid: number, subject?: 'writes' | 'accesses'): void {
    this.#stream?.close();
    this.#pid = pid;
    this.#held = [];
    this.#lost = undefined;
    this.#save.href = `report?pid=${pid}`;
    if (store.about?.pid !== pid) this.#map.setSource(new LiveTiles(pid, () => store.generation));
    const stream = new EventSource(`stream?pid=${pid}${subject === undefined ? '' : `&of=${subject}`}`);
    this.#stream = stream;
    let isAnswered = false;
    stream.onmessage = ({ data }) => {
      isAnswered = true;
      this.#lost = undefined;
      this.#take(JSON.parse(data as string) as StreamMessage);
    };
    stream.onerror = () => {
      // To choose is for once: asked for anew, it would undo what somebody else has chosen since.
      if (isAnswered && subject !== undefined) this.#look(pid);
      else void this.#failed(stream, pid);
    };
  }

  /** A stream tells no reason: it is asked for in another way. */
  async #failed(stream: EventSource, pid: number): Promise<void> {
    if (stream !== this.#stream) return;
    if (stream.readyState !== EventSource.CLOSED) {
      this.#setLost();
      return;
    }
    let why: string | undefined;
    try {
      const answer = await fetch(`stream?pid=${pid}`);
      why = answer.ok ? undefined : (await answer.text()).trim();
      await answer.body?.cancel();
    } catch {
      // As it seems.
    }
    if (store.about === undefined || store.about.pid !== pid) {
      this.#picker.open(`Cannot show process ${pid}: ${why ?? 'pmscan serve does not answer'}`);
    } else this.#setLost(why);
  }

  #setLost(why = 'pmscan serve does not answer'): void {
    this.#lost = why;
    this.#drawHead();
  }

  #take(message: StreamMessage): void {
    if (!this.#paused) {
      store.take(message);
      return;
    }
    this.#held.push(message);
    if (this.#held.length > MOST_HELD) {
      this.#held = [];
      this.#stream?.close();
      this.#stream = undefined;
    }
  }

  #setPaused(paused: boolean): void {
    this.#paused = paused;
    setAttribute(this.#pause, 'aria-pressed', paused);
    setText(this.#pause, paused ? 'Go on' : 'Pause');
    if (!paused) {
      const held = this.#held;
      this.#held = [];
      for (const message of held) store.take(message);
      if (this.#stream === undefined && this.#pid !== undefined) this.#look(this.#pid);
    }
    this.#drawHead();
  }

  #statusText(): { text: string; state: string; help: string } {
    const { tracking, about } = store;
    if (this.#lost !== undefined) return { text: this.#lost, state: 'bad', help: this.#lost };
    if (about === undefined) return { text: 'No process chosen', state: 'idle', help: '' };
    if (about.source !== 'live' && tracking.state !== 'off') {
      const { timeRange } = store;
      if (store.moments !== undefined)
        return {
          text:
            store.moments.list.length === 1
              ? `Snapshot ${store.moments.current.number} of ${new Date(about.beganAt).toLocaleString()}`
              : `${plural(store.moments.list.length, 'snapshot')} from ${new Date(about.beganAt).toLocaleString()} on, ${clock(store.moments.list.at(-1)!.atMs)} long`,
          state: 'idle',
          help: '',
        };
      return {
        text: `Recorded ${new Date(about.beganAt).toLocaleString()}, ${clock(timeRange.toMs)} long`,
        state: 'idle',
        help: '',
      };
    }
    if (this.#paused) return { text: 'Paused', state: 'idle', help: 'pmscan still tracks the process' };
    switch (tracking.state) {
      case 'starting':
        return { text: 'Attaching …', state: 'idle', help: '' };
      case 'on': {
        const skipped = tracking.skipped ?? [];
        const list = skipped.map(({ name, reason }) => `${label({ name })} (${reason})`).join('\n');
        const how = tracking.stops ? ' by soft-dirty bits' : '';
        const stops = tracking.stops ? ['pmscan stops the process for a moment at each interval'] : [];
        const but = skipped.length === 0 ? '' : `, except in ${plural(skipped.length, 'mapping')}`;
        return {
          text: `Tracking ${wordsOf(about).tracked.toLowerCase()}${how}${but}`,
          state: 'good',
          help: [...stops, list].join('\n').trim(),
        };
      }
      case 'off':
        return { text: `No heat: ${tracking.why}`, state: 'warn', help: tracking.why ?? '' };
      case 'ended':
        return { text: `Ended: ${tracking.why}`, state: 'bad', help: tracking.why ?? '' };
    }
  }

  #drawHead(): void {
    const { about, mappings, columns } = store;
    setText(this.#name, about === undefined ? 'Choose a process' : `${printable(about.name)}  ${about.pid}`);
    this.#choose.title = about?.commandLine ? printable(about.commandLine) : 'Choose a process';
    document.title = about === undefined ? 'pmscan' : `${printable(about.name)} ${about.pid} – pmscan`;
    const { text, state, help } = this.#statusText();
    setText(this.#status, text);
    this.#status.title = help;
    this.#status.className = `status ${state}`;
    this.#save.hidden = about === undefined;
    this.#subjects.hidden = about?.canChoose !== true;
    for (const button of this.#subjects.querySelectorAll('button')) {
      setAttribute(button, 'aria-pressed', button.value === (about?.subject ?? 'writes'));
    }
    const words = wordsOf(about);
    this.#figures.written.name(words.title, `Memory that was ${words.help} per second in the last interval`);
    this.#figures.set.name(
      'Working set, 10 s',
      `Distinct memory that was ${words.help} in the last 10 seconds`,
    );
    for (const button of this.#given.querySelectorAll('button')) {
      setAttribute(button, 'aria-pressed', Number(button.value) === about?.pid);
    }

    const pages = sumPages(mappings);
    const mapped = mappings.reduce((sum, { start, end }) => sum + end - start, 0);
    const swapped = pages[PAGE_KINDS.indexOf('swapped')]!;
    const guard = pages[PAGE_KINDS.indexOf('guard')]!;
    const there = pages.reduce((sum, count) => sum + count, 0) - pages[UNTOUCHED]! - swapped - guard;
    const newest = columns.at(-1);
    const ten = store.windows.indexOf(10_000);
    const none = '–';
    const recorded = about !== undefined && about.source !== 'live';
    this.#figures.mapped.set(about === undefined ? none : humanBytes(mapped));
    this.#figures.resident.set(about === undefined ? none : pagesText(there));
    this.#figures.swapped.set(about === undefined ? none : pagesText(swapped));
    const written = recorded ? columns.reduce((sum, column) => sum + column.pages, 0) : (newest?.pages ?? 0);
    this.#figures.written.set(
      newest === undefined ? none : rateText(bytesPerSecond(written, recorded ? columns : [newest])),
    );
    const workingSet = newest?.workingSet?.[ten];
    this.#figures.set.set(workingSet === undefined ? none : humanBytes(workingSet * PAGE_SIZE));
    this.#figures.own.element.hidden = recorded;
    this.#figures.cost.element.hidden = recorded;
    this.#figures.cost.set(store.targetShare === undefined ? none : percent(store.targetShare));
    this.#figures.own.set(store.ownShare === undefined ? none : percent(store.ownShare));
    this.#notes.hidden = store.notes.length === 0;
    setText(this.#notes, store.notes.join(' '));
  }

  #drawChips(): void {
    const { filter } = store;
    const chip = (text: string, remove: () => void) => {
      const button = el('button', {
        type: 'button',
        className: 'chip',
        textContent: text,
        attributes: { 'aria-label': `Filter ${text}: remove` },
      });
      button.addEventListener('click', remove);
      return button;
    };
    const chips = [
      ...[...filter.mappingKinds].map((kind: MappingKind) =>
        chip(MAPPING_TITLES[kind], () => store.toggleMappingKind(kind)),
      ),
      ...[...filter.ownerKinds].map((key) => chip(ownerTitle(key), () => store.toggleOwnerKind(key))),
      ...[...filter.pageKinds].map((kind) =>
        chip(KIND_TITLES[PAGE_KINDS[kind]!], () => store.togglePageKind(kind)),
      ),
    ];
    if (isFiltered(filter)) {
      const clear = el('button', { type: 'button', className: 'chip clear', textContent: 'Show all' });
      clear.addEventListener('click', () => {
        this.#search.value = '';
        store.setFilter(NO_FILTER);
      });
      chips.push(clear);
    }
    this.#chips.replaceChildren(...chips);
    const left = store.mappings.filter((mapping) => passes(filter, mapping)).length;
    setAttribute(this.#chips, 'title', `${plural(left, 'mapping')} shown`);
  }
}

/** `#pid=1234&view=heat`. */
function wordOfHash(name: string): string {
  return new URLSearchParams(location.hash.slice(1)).get(name) ?? '';
}

new Page(document.getElementById('model') === null);
