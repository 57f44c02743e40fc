/** Light and dark: the system's choice, or the reader's. Colours for canvases, as the words of an ImageData. */

import { UNTOUCHED } from '../../model/index.js';

export const THEMES = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof THEMES)[number];

type Rgb = readonly [number, number, number];

/** Told apart by all common kinds of colour vision (after Okabe and Ito); text says it, too. */
const KIND_COLORS: Readonly<Record<'light' | 'dark', readonly string[]>> = {
  light: ['#d55e00', '#0072b2', '#009e73', '#7cc4ef', '#e69f00', '#cc79a7', '#e4e8ed'],
  dark: ['#ee7a2b', '#3d97dd', '#1fb58b', '#a6d8f7', '#f2b632', '#de93bd', '#262d37'],
};

/** By class of age, from what was touched just now to what lies cold. */
const AGE_COLORS: Readonly<Record<'light' | 'dark', readonly string[]>> = {
  light: ['#b2182b', '#e8702a', '#e9b21e', '#7cc4ef', '#2f7fc1', '#123f7a'],
  dark: ['#ff5a5f', '#f08c3a', '#f2c94c', '#8fd0f5', '#3d8fe0', '#3058b4'],
};

/** Ordered by lightness throughout, so that it reads without hues. From little to much. */
const RAMPS: Readonly<Record<'light' | 'dark', readonly string[]>> = {
  light: ['#fbe38c', '#f9b933', '#ed7a25', '#d14545', '#a52c60', '#781c6d', '#45116a', '#150a38'],
  dark: ['#43136b', '#6d1a70', '#952667', '#bc3754', '#dd513a', '#f37819', '#fba60c', '#fcffa4'],
};

function parse(color: string): Rgb {
  const value = Number.parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function mix(a: Rgb, b: Rgb, share: number): Rgb {
  return [0, 1, 2].map((at) => a[at]! + (b[at]! - a[at]!) * share) as unknown as Rgb;
}

/** As ImageData has it on all machines that browsers run on: little-endian, opaque. */
function word([red, green, blue]: Rgb): number {
  return (0xff000000 | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red)) >>> 0;
}

/** By class and share, as a cell has them in its lower byte. */
function cellColors(classes: readonly string[], nothing: Rgb): Uint32Array {
  const colors = new Uint32Array(256).fill(word(nothing));
  classes.slice(0, UNTOUCHED).forEach((text, index) => {
    for (let share = 1; share < 16; share++) {
      // Even one page in a thousand shows: it begins at a third of the colour.
      colors[(index << 4) | share] = word(mix(nothing, parse(text), 0.34 + (0.66 * share) / 15));
    }
  });
  return colors;
}

export const RAMP_STEPS = 256;

export class Palette {
  /** By PAGE_KINDS, as CSS colours. */
  readonly kinds: readonly string[];
  /** By kind and share, as a cell has them in its lower byte. */
  readonly cells: Uint32Array;
  /** The same by class of age. */
  readonly ages: Uint32Array;
  /** The same by how many pages changed, of which there is one class. */
  readonly changes = new Uint32Array(256);
  readonly ramp = new Uint32Array(RAMP_STEPS);
  readonly panel: string;
  readonly panelWord: number;
  readonly text: string;
  readonly dim: string;
  readonly line: string;
  readonly accent: string;
  readonly sunken: string;

  constructor(dark: boolean) {
    const theme = dark ? 'dark' : 'light';
    this.kinds = KIND_COLORS[theme];
    const style = getComputedStyle(document.documentElement);
    const variable = (name: string) => style.getPropertyValue(name).trim();
    this.panel = variable('--panel');
    this.text = variable('--text');
    this.dim = variable('--dim');
    this.line = variable('--line');
    this.accent = variable('--accent');
    this.sunken = variable('--sunken');
    this.panelWord = word(parse(this.panel));
    const nothing = parse(this.kinds[UNTOUCHED]!);
    this.cells = cellColors(this.kinds, nothing);
    this.ages = cellColors(AGE_COLORS[theme], nothing);
    AGE_COLORS[theme].forEach((color, index) => {
      document.documentElement.style.setProperty(`--age-${index}`, color);
    });
    const stops = RAMPS[theme].map(parse);
    for (let step = 0; step < RAMP_STEPS; step++) {
      const at = (step / (RAMP_STEPS - 1)) * (stops.length - 1);
      const index = Math.min(Math.floor(at), stops.length - 2);
      this.ramp[step] = word(mix(stops[index]!, stops[index + 1]!, at - index));
    }
    this.changes.fill(word(nothing));
    for (let share = 1; share < 16; share++)
      this.changes[share] = this.ramp[Math.round(((share - 1) / 14) * (RAMP_STEPS - 1))]!;
    const steps = [0, 64, 128, 192, RAMP_STEPS - 1].map((step) => this.rampColor(step));
    document.documentElement.style.setProperty('--ramp', `linear-gradient(to right, ${steps.join(', ')})`);
  }

  /** A step of the ramp as a CSS colour. */
  rampColor(step: number): string {
    const value = this.ramp[step]!;
    return `rgb(${value & 255} ${(value >> 8) & 255} ${(value >> 16) & 255})`;
  }
}

const KEY = 'pmscan-theme';

export class ThemeSwitch {
  theme: Theme = 'auto';
  palette: Palette;
  readonly #system = matchMedia('(prefers-color-scheme: dark)');
  readonly #listeners: (() => void)[] = [];

  constructor() {
    try {
      const kept = localStorage.getItem(KEY);
      if (THEMES.includes(kept as Theme)) this.theme = kept as Theme;
    } catch {
      // Not every browser lets a file remember something.
    }
    this.palette = this.#apply();
    this.#system.addEventListener('change', () => this.set(this.theme));
  }

  get dark(): boolean {
    return this.theme === 'dark' || (this.theme === 'auto' && this.#system.matches);
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  set(theme: Theme): void {
    this.theme = theme;
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // As above.
    }
    this.palette = this.#apply();
    for (const listener of this.#listeners) listener();
  }

  #apply(): Palette {
    document.documentElement.dataset['theme'] = this.dark ? 'dark' : 'light';
    return new Palette(this.dark);
  }
}
