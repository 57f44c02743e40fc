/** The live view as cells: pure, so that it can be tested without a terminal. */
import { pageSize } from '../../live/index.js';
import { ownedLabel } from '../../owners/internal.js';
import type { Subject } from '../../track/internal.js';
import { columnsOf, shorten, wrapText } from '../columns.js';
import { hex, humanBytes, humanCount, plural, printable } from '../text.js';
import { shareText, shortTime } from './cost.js';
import { type HeatModel, LEVELS, LogScale, type MappingHeat } from './heat.js';
import type { CellGrid, CellStyle } from './screen.js';
import { WORDS } from './tracker.js';

export const SORT_KEYS = ['rate', 'total', 'size', 'address', 'name'] as const;
export type SortKey = (typeof SORT_KEYS)[number];

/** What the keys have set. */
export interface ViewState {
  sort: SortKey;
  /** Shown are the mappings whose name has this in it. */
  filter: string;
  /** The filter is being typed. */
  editing: boolean;
  paused: boolean;
  help: boolean;
  /** First row shown. */
  scroll: number;
  /** Mappings without a write are left out. */
  onlyWritten: boolean;
}

export function initialState(): ViewState {
  return {
    sort: 'rate',
    filter: '',
    editing: false,
    paused: false,
    help: false,
    scroll: 0,
    onlyWritten: false,
  };
}

/** What is known of the run as a whole. */
export interface RunInfo {
  readonly pid: number;
  readonly name: string;
  readonly intervalMs: number;
  readonly elapsedMs: number;
  /** Share of time that the tool itself took in the last interval, 0 to 1. */
  readonly ownShare: number;
  /** What the watch costs the process, as a share of the time that it runs, 0 to 1; undefined where that is not known. */
  readonly targetShare?: number | undefined;
  readonly lateIntervals: number;
  /** What could not be tracked, if anything. */
  readonly untracked: number;
  readonly subject?: Subject | undefined;
  /** The share of the pages that is looked at, 0 to 1, where it is not all of them: numbers are estimates then. */
  readonly sampled?: number | undefined;
  /** How long the interval takes that goes on, milliseconds: for a budget, it may be much longer than was asked for. */
  readonly nextMs?: number | undefined;
}

/** Foreground and background of a level: dark blue over red to pale yellow, in order of lightness, so that it can be
 * read without telling hues apart; the digit says it, too. */
const RAMP: readonly CellStyle[] = [
  '2',
  '97;48;5;17',
  '97;48;5;18',
  '97;48;5;54',
  '97;48;5;90',
  '97;48;5;126',
  '97;48;5;161',
  '30;48;5;203',
  '30;48;5;215',
  '30;48;5;229',
];

const TIME_CELLS = 20;

function levelStyle(level: number, color: boolean): CellStyle {
  if (color) return RAMP[level]!;
  return level === 0 ? '2' : '';
}

function drawLevels(
  grid: CellGrid,
  column: number,
  row: number,
  values: readonly number[],
  scale: LogScale,
  color: boolean,
): void {
  values.forEach((value, index) => {
    const level = scale.level(value);
    grid.put(column + index, row, level === 0 ? '.' : String(level), levelStyle(level, color));
  });
}

const labelOf = (mapping: MappingHeat) => ownedLabel(mapping, mapping.owner);

/** The rows that the state asks for, in its order. */
export function visibleMappings(model: HeatModel, state: ViewState): MappingHeat[] {
  const wanted = state.filter.toLowerCase();
  const list = model.mappings.filter(
    (mapping) =>
      (labelOf(mapping).toLowerCase().includes(wanted) || mapping.name.toLowerCase().includes(wanted)) &&
      (!state.onlyWritten || mapping.totalPages > 0),
  );
  const byAddress = (a: MappingHeat, b: MappingHeat) => a.start - b.start;
  const orders: Record<SortKey, (a: MappingHeat, b: MappingHeat) => number> = {
    rate: (a, b) => b.rate - a.rate || b.totalPages - a.totalPages || byAddress(a, b),
    total: (a, b) => b.totalPages - a.totalPages || byAddress(a, b),
    size: (a, b) => b.pages - a.pages || byAddress(a, b),
    address: byAddress,
    name: (a, b) => {
      const [first, second] = [labelOf(a), labelOf(b)];
      return first < second ? -1 : first > second ? 1 : byAddress(a, b);
    },
  };
  return list.sort(orders[state.sort]);
}

function perSecond(pages: number): string {
  return pages === 0 ? '' : `${humanBytes(pages * pageSize())}/s`;
}

function clock(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  return `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

const HELP_TEXT =
  'Each row is a mapping. The strip shows its address range from left to right, each cell an equal part of it; the digits 1 to 9, and the ' +
  'colour, say how fast its pages are written, on a logarithmic scale; a dot is nothing. What was written last fades over a few ' +
  'intervals. Where there is room, a second strip shows the whole mapping over the last intervals.';
const HELP_KEYS = [
  ['s, S', 'next, previous order'],
  ['w', 'only mappings that were written, or all'],
  ['/', 'filter by name or owner; Enter keeps it, Esc clears'],
  ['p, Space', 'pause the picture; nothing is lost meanwhile'],
  ['arrows', 'scroll (PgUp, PgDn, g, G too)'],
  ['?, h', 'this help'],
  ['q', 'end, with a summary'],
] as const;
const MOST_HELP_COLUMNS = 100;

/** Phrases from the left for as long as they fit: half of a number would be another number. Each has its separator before it. */
function wholePhrases(phrases: readonly string[], columns: number): string {
  let text = '';
  for (const phrase of phrases) {
    if (columnsOf(text) + columnsOf(phrase) > columns) break;
    text += phrase;
  }
  return text;
}

/** Puts text where all of it fits. */
function putWhole(grid: CellGrid, column: number, row: number, text: string, style: CellStyle = ''): void {
  if (column + text.length <= grid.columns) grid.put(column, row, text, style);
}

/** The columns of numbers with their titles, their widths with a gap. */
const NUMBERS = [
  { key: 'address', title: 'ADDRESS', cells: 16 },
  { key: 'size', title: 'SIZE', cells: 9 },
  { key: 'rate', title: 'RATE', cells: 13 },
  { key: 'total', title: 'TOTAL', cells: 11 },
] as const;
/** Those that are left out, in this order, where there is no room; the one that rows are sorted by comes last. */
const DISPENSABLE = ['total', 'size', 'rate'] as const;
type NumberKey = (typeof NUMBERS)[number]['key'];

const GAP = 2;
const LEAST_NAME = 10;
const MOST_NAME = 40;
/** As wide as its title. */
const LEAST_STRIP = 10;
/** Where the strip over time would leave less than this to the strip over addresses, it is left out: that one tells more. */
const LEAST_STRIP_BESIDE_TIME = 16;

/** Where each column begins. A strip over time without cells is not there. */
interface ViewColumns {
  readonly numbers: ReadonlyMap<NumberKey, number>;
  readonly strip: number;
  readonly stripCells: number;
  readonly time: number;
  readonly timeCells: number;
  readonly name: number;
}

/** Numbers, the strip over addresses, the strip over time, the name in what is left. */
function columnsFor(columns: number, sort: SortKey): ViewColumns {
  const nameCells = Math.max(LEAST_NAME, Math.min(MOST_NAME, Math.floor(columns / 5)));
  const order = [...DISPENSABLE.filter((key) => key !== sort), ...DISPENSABLE.filter((key) => key === sort)];
  const numbers = new Map<NumberKey, number>();
  let strip = 0;
  for (let dropped = 0; dropped <= order.length; dropped++) {
    const left = new Set<NumberKey>(order.slice(0, dropped));
    numbers.clear();
    strip = 0;
    for (const { key, cells } of NUMBERS) {
      if (left.has(key)) continue;
      numbers.set(key, strip);
      strip += cells;
    }
    if (strip + LEAST_STRIP + GAP + nameCells <= columns) break;
  }
  const room = columns - strip - GAP - nameCells;
  const timeCells = room - TIME_CELLS - GAP >= LEAST_STRIP_BESIDE_TIME ? TIME_CELLS : 0;
  const stripCells = Math.max(LEAST_STRIP, room - (timeCells ? timeCells + GAP : 0));
  const time = strip + stripCells + GAP;
  return { numbers, strip, stripCells, time, timeCells, name: time + (timeCells ? timeCells + GAP : 0) };
}

/** What is watched, how fast it writes, and what that costs. */
function drawHead(grid: CellGrid, model: HeatModel, state: ViewState, run: RunInfo): void {
  const paused = state.paused ? '   PAUSED (p goes on)' : '';
  const begin = `pmscan watch ${run.pid} `;
  const room = grid.columns - paused.length;
  const title = `${begin}${shorten(printable(run.name), Math.max(0, room - begin.length))}`;
  const { intervalMs, nextMs = 0 } = run;
  const times = [
    `   ${clock(run.elapsedMs)}`,
    `   every ${intervalMs} ms`,
    nextMs >= 2 * intervalMs ? `, this time in ${shortTime(nextMs)}, for the budget` : '',
    run.sampled === undefined ? '' : `   estimates from ${shareText(run.sampled)} of the pages`,
  ];
  let column = grid.put(0, 0, title, '1');
  column = grid.put(column, 0, wholePhrases(times, room - column));
  grid.put(column, 0, paused, '7');

  const writes = [
    `${WORDS[run.subject ?? 'writes'].done} ${humanBytes(model.rate * pageSize())}/s`,
    `   in all ${humanBytes(model.totalPages * pageSize())} in ${plural(model.intervals, 'interval')}`,
    run.lateIntervals === 0 ? ', none late' : `, ${humanCount(run.lateIntervals)} late`,
  ];
  grid.put(0, 1, wholePhrases(writes, grid.columns));
  const costs = [
    `costs the tool ${(run.ownShare * 100).toFixed(1)} %`,
    run.targetShare === undefined ? '' : `, the process ${shareText(run.targetShare)}`,
    run.untracked > 0 ? `   ${plural(run.untracked, 'mapping')} cannot be tracked` : '',
  ];
  grid.put(0, 2, wholePhrases(costs, grid.columns));
}

/** The titles of the columns; the one that rows are sorted by has a star. */
function drawTitles(grid: CellGrid, at: ViewColumns, state: ViewState): void {
  const title = (column: number, text: string, key?: SortKey) =>
    grid.put(column, 3, key === state.sort ? `${text}*` : text, key === state.sort ? '1;7' : '1');
  for (const { key, title: text } of NUMBERS) {
    const column = at.numbers.get(key);
    if (column !== undefined) title(column, text, key);
  }
  title(at.strip, 'BY ADDRESS');
  if (at.timeCells) title(at.time, 'BY TIME');
  title(at.name, 'NAME', 'name');
}

/** Draws the whole view. */
export function drawView(
  grid: CellGrid,
  model: HeatModel,
  state: ViewState,
  run: RunInfo,
  color: boolean,
): void {
  drawHead(grid, model, state, run);
  const at = columnsFor(grid.columns, state.sort);
  const { timeCells } = at;
  drawTitles(grid, at, state);

  const rows = visibleMappings(model, state);
  const first = 4;
  const room = Math.max(0, grid.rows - first - 3);
  state.scroll = Math.max(0, Math.min(state.scroll, rows.length - room));
  const shown = rows.slice(state.scroll, state.scroll + room);
  const strips = shown.map((mapping) => mapping.strip(at.stripCells));
  let most = 2;
  for (const strip of strips) for (const value of strip) most = Math.max(most, value);
  const scale = new LogScale(most);
  let mostRate = 2;
  for (const mapping of shown) for (const value of mapping.history) mostRate = Math.max(mostRate, value);
  const timeScale = new LogScale(mostRate);

  shown.forEach((mapping, index) => {
    const row = first + index;
    const numbers: Record<NumberKey, string> = {
      address: hex(mapping.start),
      size: humanBytes(mapping.pages * pageSize()),
      rate: perSecond(mapping.rate),
      total: mapping.totalPages === 0 ? '' : humanBytes(mapping.totalPages * pageSize()),
    };
    for (const [key, column] of at.numbers)
      putWhole(grid, column, row, numbers[key], key === 'rate' && mapping.rate > 0 ? '1' : '');
    drawLevels(grid, at.strip, row, strips[index]!, scale, color);
    if (timeCells) {
      const history = mapping.history.slice(-timeCells);
      drawLevels(grid, at.time + timeCells - history.length, row, history, timeScale, color);
    }
    grid.put(at.name, row, shorten(labelOf(mapping), grid.columns - at.name));
  });

  drawFoot(grid, model, state, scale, timeCells ? timeScale : undefined, rows.length, room, color);
  if (state.help) drawHelp(grid);
  else if (rows.length === 0) {
    const nothing = state.filter
      ? `no mapping has "${printable(state.filter)}" in its name`
      : 'nothing to show yet';
    grid.put(2, first, nothing, '2');
  }
}

function drawFoot(
  grid: CellGrid,
  model: HeatModel,
  state: ViewState,
  scale: LogScale,
  timeScale: LogScale | undefined,
  count: number,
  room: number,
  color: boolean,
): void {
  const row = grid.rows - 2;
  const step = (value: number) => humanBytes(value * pageSize());
  const steps = [1, 3, 5, 7, LEVELS].map((level) => ({
    before: level === 1 ? 'scale, by address: ' : '',
    level,
    after: level === 1 ? ' any  ' : ` ${step(scale.least(level))}/s  `,
  }));
  if (timeScale !== undefined)
    steps.push({ before: 'a cell; by time: ', level: LEVELS, after: ` ${step(timeScale.least(LEVELS))}/s` });
  let column = 0;
  for (const { before, level, after } of steps) {
    if (column + before.length + 1 + after.trimEnd().length > grid.columns) break;
    column = grid.put(column, row, before);
    column = grid.put(column, row, String(level), levelStyle(level, color));
    column = grid.put(column, row, after);
  }
  if (timeScale === undefined) putWhole(grid, column, row, 'a cell');
  const foot = grid.rows - 1;
  if (state.editing) {
    grid.put(grid.put(0, foot, `filter: ${printable(state.filter)}`, '1'), foot, ' ', '7');
    return;
  }
  const from = count === 0 ? 0 : state.scroll + 1;
  const parts = [
    `${from}-${Math.min(count, state.scroll + room)} of ${plural(model.mappings.length, 'mapping')}`,
    state.onlyWritten ? '   written only' : '',
    state.filter ? `   filter "${printable(state.filter)}"` : '',
  ];
  const left = wholePhrases(parts, grid.columns);
  grid.put(0, foot, left);
  for (const keys of ['s sort  / filter  w written only  p pause  ? help  q quit', '? help  q quit']) {
    const at = grid.columns - keys.length;
    if (at <= left.length + 1) continue;
    grid.put(at, foot, keys, '2');
    break;
  }
}

function drawHelp(grid: CellGrid): void {
  const inner = Math.max(1, Math.min(grid.columns - 4, MOST_HELP_COLUMNS));
  const keys = HELP_KEYS.map(([key, text]) => `${key.padEnd(9)} ${text}`);
  const lines = ['', ...wrapText(HELP_TEXT, inner), '', ...keys, ''];
  const left = Math.max(0, Math.floor((grid.columns - inner - 4) / 2));
  // Where there is not room for all, the keys matter more.
  const top = Math.max(0, Math.floor((grid.rows - lines.length) / 2));
  lines.slice(-grid.rows).forEach((line, index) => {
    grid.put(left, top + index, `  ${line.slice(0, inner).padEnd(inner)}  `, '7');
  });
}

/** What a key did: the view has changed, the user wants to leave, or nothing. */
export type KeyEffect = 'redraw' | 'quit' | 'interrupt' | undefined;

/** Goes `by` columns on in the order that rows are sorted by. */
function turnSort(state: ViewState, by: number): void {
  const index = SORT_KEYS.indexOf(state.sort);
  state.sort = SORT_KEYS[(index + by + SORT_KEYS.length) % SORT_KEYS.length]!;
  state.scroll = 0;
}

/** Adds `rows` to the scroll position. */
function scrollBy(state: ViewState, rows: number): void {
  state.scroll = Math.max(0, state.scroll + rows);
}

/** What each key changes; `page` is how many rows a page has. */
const KEY_ACTIONS: Readonly<Record<string, (state: ViewState, page: number) => void>> = {
  s: (state) => turnSort(state, 1),
  S: (state) => turnSort(state, -1),
  '/': (state) => {
    state.editing = true;
  },
  escape: (state) => {
    if (state.help) state.help = false;
    else state.filter = '';
  },
  w: (state) => {
    state.onlyWritten = !state.onlyWritten;
    state.scroll = 0;
  },
  p: (state) => {
    state.paused = !state.paused;
  },
  '?': (state) => {
    state.help = !state.help;
  },
  up: (state) => scrollBy(state, -1),
  down: (state) => scrollBy(state, 1),
  pageup: (state, page) => scrollBy(state, -page),
  pagedown: (state, page) => scrollBy(state, page),
  home: (state) => {
    state.scroll = 0;
  },
  end: (state) => {
    state.scroll = Number.MAX_SAFE_INTEGER;
  },
};

const KEY_ALIASES: Readonly<Record<string, string>> = {
  ' ': 'p',
  h: '?',
  k: 'up',
  j: 'down',
  g: 'home',
  G: 'end',
};

/** A key while the filter is edited. */
function editFilter(key: string, state: ViewState): KeyEffect {
  if (key === 'enter') state.editing = false;
  else if (key === 'escape') Object.assign(state, { editing: false, filter: '' });
  else if (key === 'backspace') state.filter = [...state.filter].slice(0, -1).join('');
  else if ([...key].length === 1) state.filter += key;
  else return undefined;
  state.scroll = 0;
  return 'redraw';
}

/** One key of `parseKeys`, applied to the state. `page` is how many rows a page has. */
export function applyKey(key: string, state: ViewState, page: number): KeyEffect {
  if (key === 'ctrl-c') return 'interrupt';
  if (state.editing) return editFilter(key, state);
  if (key === 'q') return 'quit';
  const action = Object.hasOwn(KEY_ALIASES, key) ? KEY_ALIASES[key]! : key;
  if (!Object.hasOwn(KEY_ACTIONS, action)) return undefined;
  KEY_ACTIONS[action]!(state, page);
  return 'redraw';
}

const SEQUENCES: Readonly<Record<string, string>> = {
  '[A': 'up',
  '[B': 'down',
  '[5~': 'pageup',
  '[6~': 'pagedown',
  '[H': 'home',
  '[F': 'end',
  '[1~': 'home',
  '[4~': 'end',
  OA: 'up',
  OB: 'down',
};

/** The keys in what a terminal in raw mode sent at once. */
export function parseKeys(input: string): string[] {
  const keys: string[] = [];
  for (const match of input.matchAll(/\x1b(\[[0-9;]*[~A-Za-z]|O[A-Za-z])?|[\s\S]/gu)) {
    const [text, sequence] = match;
    if (sequence !== undefined) keys.push(SEQUENCES[sequence] ?? 'unknown');
    else if (text === '\x1b') keys.push('escape');
    else if (text === '\r' || text === '\n') keys.push('enter');
    else if (text === '\x7f' || text === '\b') keys.push('backspace');
    else if (text === '\x03') keys.push('ctrl-c');
    else if (text >= ' ') keys.push(text);
  }
  return keys;
}
