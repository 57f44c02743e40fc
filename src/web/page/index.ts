/** What other pages use of this one. */
export { el, onFrame, pixelRatio, setAttribute, setText } from './dom.js';
export { type Palette, ThemeSwitch } from './theme.js';
