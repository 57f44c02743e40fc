/** Snapshots as text and as JSON. */
import { PAGE_SIZE } from '../../abi/index.js';
import type { DamagedSnapshot, SnapshotInfo } from '../../snapshot/index.js';
import { humanBytes, printable } from '../text.js';

/** `2026-11-29 10:00:00.5`, in this machine's time zone. */
export function localTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const date = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  const tenth = Math.floor(time.getMilliseconds() / 100);
  return `${date} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}.${tenth}`;
}

export function asJson({ time, ...info }: SnapshotInfo) {
  return { ...info, time: time.toISOString() };
}

const COLUMNS = ['NUMBER', 'TIME', 'MEMORY', 'CHANGED', 'STORED', 'STOP', 'THREADS'] as const;

function cells(info: SnapshotInfo): string[] {
  return [
    String(info.number),
    localTime(info.time),
    humanBytes(info.pages * PAGE_SIZE),
    humanBytes(info.changedPages * PAGE_SIZE),
    humanBytes(info.storedBytes),
    `${info.pauseMs.toFixed(1)} ms`,
    String(info.threads),
  ];
}

const WIDTHS = [6, 21, 8, 8, 8, 9, 7] as const;

const line = (texts: readonly string[]) =>
  texts.map((text, index) => text.padStart(WIDTHS[index]!)).join('  ');

export const LIST_HEADER = line(COLUMNS);

export function describeLine(info: SnapshotInfo): string {
  const doubts = info.doubts.length > 0 ? '  may be torn' : '';
  return line(cells(info)) + doubts;
}

export function describeDamaged({ number, problem }: DamagedSnapshot): string {
  return `${String(number).padStart(WIDTHS[0])}  damaged: ${printable(problem)}`;
}
