/** What pictures share: a canvas that fills its frame, text that fits, and a tip beside the pointer. */
import { el, pixelRatio, setText } from './dom.js';

/** A canvas that is as large as its frame, in the screen's own pixels. */
export class Picture {
  readonly canvas: HTMLCanvasElement;
  /** Its size in the page's pixels; 0 until its frame has been seen. */
  width = 0;
  height = 0;
  #pixels: { words: Uint32Array; image: ImageData } | undefined;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
  }

  /** As large as `frame` from now on; false where that cannot be seen. */
  fit({ clientWidth, clientHeight }: HTMLElement): boolean {
    if (clientWidth === 0 || clientHeight === 0) return false;
    const ratio = pixelRatio();
    this.width = clientWidth;
    this.height = clientHeight;
    this.canvas.width = Math.round(clientWidth * ratio);
    this.canvas.height = Math.round(clientHeight * ratio);
    this.#pixels = undefined;
    return true;
  }

  /** Its pixels, a word each, all of them `word` to begin with; {@link draw} shows them. */
  clear(word: number): Uint32Array {
    const { width, height } = this.canvas;
    if (this.#pixels === undefined) {
      const image = this.canvas.getContext('2d')!.createImageData(width, height);
      this.#pixels = { image, words: new Uint32Array(image.data.buffer) };
    }
    return this.#pixels.words.fill(word);
  }

  /** To draw on it in the page's pixels: on the pixels of {@link clear} if there are any, else on nothing. */
  draw(): CanvasRenderingContext2D {
    const context = this.canvas.getContext('2d')!;
    const ratio = pixelRatio();
    if (this.#pixels !== undefined) context.putImageData(this.#pixels.image, 0, 0);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.#pixels === undefined) context.clearRect(0, 0, this.width, this.height);
    return context;
  }
}

/** Lines of text over a picture. */
export class Tip {
  readonly element = el('div', { className: 'tip', hidden: true, attributes: { 'aria-hidden': true } });

  hide(): void {
    this.element.hidden = true;
  }

  /** Shows the lines; `place` is given the size that they take. */
  show(lines: readonly string[], place: (width: number, height: number) => { x: number; y: number }): void {
    const { children, style } = this.element;
    while (children.length > lines.length) children[lines.length]!.remove();
    while (children.length < lines.length) this.element.append(el('div'));
    lines.forEach((line, index) => {
      setText(children[index]!, line);
    });
    this.element.hidden = false;
    const { x, y } = place(this.element.offsetWidth, this.element.offsetHeight);
    style.left = `${Math.max(4, x)}px`;
    style.top = `${Math.max(4, y)}px`;
  }
}

export const FONT = '12px system-ui, sans-serif';
export const MONO = '11px ui-monospace, "DejaVu Sans Mono", monospace';

const cuts = new Map<string, string>();

/** Text cut in its middle to fit. Remembered: measuring is slow, and pictures are drawn sixty times a second. */
export function cut(context: CanvasRenderingContext2D, text: string, room: number): string {
  const key = `${Math.floor(room)} ${text}`;
  let result = cuts.get(key);
  if (result === undefined) {
    if (cuts.size > 5000) cuts.clear();
    result = measureCut(context, text, room);
    cuts.set(key, result);
  }
  return result;
}

function measureCut(context: CanvasRenderingContext2D, text: string, room: number): string {
  if (context.measureText(text).width <= room) return text;
  for (let keep = Math.min(text.length - 1, 60); keep > 1; keep--) {
    const head = Math.ceil(keep / 3);
    const shorter = `${text.slice(0, head)}…${text.slice(text.length - (keep - head))}`;
    if (context.measureText(shorter).width <= room) return shorter;
  }
  return '…';
}
