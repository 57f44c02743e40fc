/** What `pmscan wss` says in the end: as JSON, and as tables for people. */
import { pageSize } from '../../live/index.js';
import { type Owner, ownedLabel, ownerText } from '../../owners/internal.js';
import type { AddressRange } from '../../query/index.js';
import type { AccessReport, IdlePages } from '../../track/index.js';
import { type Column, shorten, tableLines, wrapText } from '../columns.js';
import { hex, humanBytes, type Style } from '../text.js';
import { shortTime } from '../watch/cost.js';

export const WSS_SCHEMA = 'pagemap-scan/wss@1';

/** Shown to people; JSON has all. */
const MOST_MAPPINGS = 15;

/** What was measured, and how. */
export interface WorkingSetReport extends AccessReport {
  readonly pid: number;
  /** By the ioctl's ACCESSED, or by the referenced bits that smaps counts. */
  readonly provider: 'ioctl' | 'referenced';
  /** The share of the pages that was looked at; undefined for all. */
  readonly sampled?: number | undefined;
  readonly intervalMs: number;
  readonly elapsedMs: number;
  /** Whose memory a mapping is; undefined where nothing is known. */
  readonly ownerOf?: ((mapping: AddressRange) => Owner | undefined) | undefined;
  /** What the measurement cost the process, about, milliseconds; undefined where that is not known. */
  readonly targetCostMs?: number | undefined;
}

type Named = AddressRange & { readonly name: string };

const labelOf = (report: WorkingSetReport, mapping: Named) => ownedLabel(mapping, report.ownerOf?.(mapping));

const bytes = (pages: number) => humanBytes(pages * pageSize());
const percent = (pages: number, all: number) => (all === 0 ? '' : `${((pages / all) * 100).toFixed(0)} %`);

/** `100 ms`, `1 s`, `10 min`. */
export function humanDuration(ms: number): string {
  const units = [
    [3_600_000, 'h'],
    [60_000, 'min'],
    [1000, 's'],
  ] as const;
  const [length, unit] = units.find(([length]) => ms >= length && ms % (length / 2) === 0) ?? [
    ms >= 1000 ? 1000 : 1,
    ms >= 1000 ? 's' : 'ms',
  ];
  return `${Number((ms / length).toFixed(1))} ${unit}`;
}

/** One JSON document. */
export function wssJson(report: WorkingSetReport): string {
  const { pid, provider, sampled, intervalMs, elapsedMs, targetCostMs } = report;
  const { residentPages, windows, idle, mappings } = report;
  return JSON.stringify({
    schema: WSS_SCHEMA,
    pid,
    pageSize: pageSize(),
    provider,
    ...(sampled === undefined ? {} : { sampled }),
    intervalMs,
    elapsedMs: Math.round(elapsedMs),
    residentPages,
    ...(targetCostMs === undefined ? {} : { targetCostMs: Math.round(targetCostMs * 10) / 10 }),
    windows,
    idle,
    mappings: mappings.map((mapping) => {
      const owner = report.ownerOf?.(mapping);
      const { start, end } = mapping;
      return {
        ...mapping,
        start: hex(start),
        end: hex(end),
        owner: owner === undefined ? null : ownerText(owner),
      };
    }),
  });
}

const WINDOW_COLUMNS: readonly Column[] = [
  { title: 'WITHIN', align: 'right' },
  { title: 'MEAN', align: 'right' },
  { title: 'P95', align: 'right' },
  { title: 'MOST', align: 'right' },
  { title: 'OF RESIDENT', align: 'right' },
  { title: 'ERROR', align: 'left' },
];

function windowLines({ windows, residentPages }: WorkingSetReport): string[] {
  const rows = windows.map(({ ms, meanPages, p95Pages, maxPages, errorPages }) => [
    humanDuration(ms),
    bytes(meanPages),
    bytes(p95Pages),
    bytes(maxPages),
    percent(meanPages, residentPages),
    errorPages === 0 ? '' : `± ${bytes(errorPages)}`,
  ]);
  return ['Touched', ...tableLines(WINDOW_COLUMNS, rows)];
}

/** Pages by how long they were left alone: from each limit to the next. */
export function idleBands(
  idle: readonly IdlePages[],
  residentPages: number,
): [label: string, pages: number][] {
  const bands: [string, number][] = [];
  let before = residentPages;
  let from = 0;
  for (const { atLeastMs, pages } of idle) {
    const label =
      from === 0
        ? `less than ${humanDuration(atLeastMs)}`
        : `${humanDuration(from)} to ${humanDuration(atLeastMs)}`;
    bands.push([label, Math.max(0, before - pages)]);
    before = pages;
    from = atLeastMs;
  }
  if (idle.length > 0) bands.push([`not touched in ${humanDuration(from)}`, before]);
  return bands;
}

const IDLE_COLUMNS: readonly Column[] = [
  { title: 'FOR', align: 'left' },
  { title: 'SIZE', align: 'right' },
  { title: 'OF RESIDENT', align: 'right' },
];

function idleLines({ idle, residentPages }: WorkingSetReport): string[] {
  const rows = idleBands(idle, residentPages).map(([label, pages]) => [
    label,
    bytes(pages),
    percent(pages, residentPages),
  ]);
  return ['Left alone', ...tableLines(IDLE_COLUMNS, rows)];
}

const MAPPING_COLUMNS: readonly Column[] = [
  { title: 'ADDRESS', align: 'left' },
  { title: 'RESIDENT', align: 'right' },
  { title: 'TOUCHED', align: 'right' },
  { title: 'IDLE', align: 'right' },
  { title: 'NAME', align: 'left' },
];

function mappingLines(report: WorkingSetReport, style: Style): string[] {
  const { mappings } = report;
  const coldest = [...mappings].sort((a, b) => b.idlePages - a.idlePages);
  const rows = coldest
    .slice(0, MOST_MAPPINGS)
    .map((mapping) => [
      hex(mapping.start),
      bytes(mapping.residentPages),
      bytes(mapping.accessedPages),
      bytes(mapping.idlePages),
      shorten(labelOf(report, mapping), Math.max(20, style.columns - 60), style),
    ]);
  const more =
    mappings.length > MOST_MAPPINGS ? [`… and ${mappings.length - MOST_MAPPINGS} more mappings`] : [];
  return ['By mapping, the coldest first', ...tableLines(MAPPING_COLUMNS, rows), ...more];
}

/** What it means, in one sentence. */
export function conclusion(report: WorkingSetReport): string {
  const { idle, residentPages, mappings } = report;
  const last = idle.at(-1);
  if (last === undefined || residentPages === 0) return 'Nothing of it is resident.';
  const needed = residentPages - last.pages;
  const byName = new Map<string, number>();
  for (const mapping of mappings) {
    const label = labelOf(report, mapping);
    byName.set(label, (byName.get(label) ?? 0) + mapping.idlePages);
  }
  const [most] = [...byName].sort(([, a], [, b]) => b - a);
  const where = most === undefined || most[1] === 0 ? '' : `, ${bytes(most[1])} of it in ${most[0]}`;
  return (
    `In ${humanDuration(last.atLeastMs)} it touched ${bytes(needed)} of the ${bytes(residentPages)} that are resident; ` +
    `${bytes(last.pages)} were not touched${where}.`
  );
}

/** With an error above this share of what was measured, a sample tells little. */
const LARGE_ERROR = 0.25;

/** What to do where the sample is too small. */
export function sampleAdvice({ sampled, windows }: WorkingSetReport): string[] {
  const last = windows.at(-1);
  if (sampled === undefined || last === undefined || last.errorPages <= last.meanPages * LARGE_ERROR)
    return [];
  return [
    `The error is large: for so little memory, or for huge pages, which count as a whole, a sample of ${Number((sampled * 100).toFixed(1))} % tells little. Use --exact or a larger --sample.`,
  ];
}

/** All of it, for people. */
export function wssLines(report: WorkingSetReport, style: Style): string[] {
  const { bold } = style.colors;
  const sections = [windowLines(report), idleLines(report), mappingLines(report, style)];
  const lines = sections.flatMap(([title, ...rest]) => [
    bold(title!),
    ...rest.map((line) => `  ${line}`),
    '',
  ]);
  const { targetCostMs } = report;
  const cost =
    targetCostMs === undefined ? [] : [`Measuring cost the process about ${shortTime(targetCostMs)}.`];
  const sentences = [conclusion(report), ...sampleAdvice(report), ...cost];
  return [...lines, ...sentences.flatMap((sentence) => wrapText(sentence, style.columns))];
}
