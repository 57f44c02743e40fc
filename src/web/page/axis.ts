/** Time from left to right, as the pictures over time have it. */
import { FONT } from './canvas.js';
import { clock } from './format.js';
import type { TimeRange } from './store.js';
import type { ThemeSwitch } from './theme.js';

/** Times for the axis: at most `most` of them, at round distances. */
export function ticks(range: TimeRange, most: number): number[] {
  const length = range.toMs - range.fromMs;
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400];
  const step = (steps.find((seconds) => length / 1000 / seconds <= most) ?? 172_800) * 1000;
  const times: number[] = [];
  for (let at = Math.ceil(Math.max(range.fromMs, 0) / step) * step; at <= range.toMs; at += step) {
    times.push(at);
  }
  return times;
}

/** The newest part of a time range. A live one has its full length from the beginning, and fills from the left. */
export function shownTime({ fromMs, toMs }: TimeRange, spanMs: number, live: boolean): TimeRange {
  const span = Number.isFinite(spanMs) ? spanMs : Math.max(toMs - fromMs, 10_000);
  const from = Math.max(fromMs, toMs - span);
  return { fromMs: from, toMs: live ? from + span : Math.max(toMs, from + 1) };
}

/** Time from left to right, shared by the pictures that have it. */
export class TimeAxis {
  range: TimeRange = { fromMs: 0, toMs: 1 };
  left = 0;
  right = 1;

  x(milliseconds: number): number {
    const { fromMs, toMs } = this.range;
    return this.left + ((milliseconds - fromMs) / (toMs - fromMs)) * (this.right - this.left);
  }

  time(x: number): number {
    const { fromMs, toMs } = this.range;
    const share = Math.max(0, Math.min(1, (x - this.left) / (this.right - this.left)));
    return fromMs + share * (toMs - fromMs);
  }

  draw(context: CanvasRenderingContext2D, y: number, theme: ThemeSwitch): void {
    const { palette } = theme;
    context.font = FONT;
    context.fillStyle = palette.dim;
    context.strokeStyle = palette.line;
    context.textBaseline = 'middle';
    context.textAlign = 'center';
    context.beginPath();
    for (const at of ticks(this.range, (this.right - this.left) / 90)) {
      const x = Math.round(this.x(at)) + 0.5;
      context.moveTo(x, y);
      context.lineTo(x, y + 5);
      const text = clock(at);
      const half = context.measureText(text).width / 2;
      context.fillText(text, Math.min(x, this.right - half), y + 15);
    }
    context.stroke();
  }
}
