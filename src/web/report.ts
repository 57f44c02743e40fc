/** One HTML file that holds everything: opened from a disk, it asks nobody for anything. */
import { createHash } from 'node:crypto';
import { kindsText, type PageModel, REPORT_LIMITS, SUBJECT_TITLES, unknownKinds } from '../model/index.js';
import { humanBytes, humanCount, plural } from '../query/internal.js';
import { loadAssets } from './assets.js';

function sha256(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
}

/** JSON that cannot end the script element that it stands in, nor be taken for markup. */
export function embeddedJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('>', '\\u003e')
    .replaceAll('&', '\\u0026')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

/** The report as a self-contained document. */
export function reportHtml(model: PageModel): string {
  const bounded = boundModel(model);
  const { html, script, style } = loadAssets();
  const policy = `default-src 'none'; script-src ${sha256(script)}; style-src ${sha256(style)}; img-src data:; base-uri 'none'; form-action 'none'`;
  // Functions, because a replacement text has patterns of its own.
  return html
    .replace('<!--policy-->', () => `<meta http-equiv="Content-Security-Policy" content="${policy}">`)
    .replace('<link rel="stylesheet" href="page.css">', () => `<style>${style}</style>`)
    .replace('<script src="page.js" defer></script>\n', '')
    .replace(
      '<!--data-->',
      () =>
        `<script type="application/json" id="model">${embeddedJson(bounded)}</script>\n<script>${script}</script>`,
    );
}

function between(sizes: readonly number[]): string {
  const least = sizes.reduce((a, b) => Math.min(a, b));
  const most = sizes.reduce((a, b) => Math.max(a, b));
  return least === most ? humanBytes(least) : `${humanBytes(least)} to ${humanBytes(most)}`;
}

/** How the data of a sample was made smaller. */
export function sampleNotes({ about, layout, heat, tracking }: PageModel): string[] {
  const notes: string[] = [];
  const tracked = SUBJECT_TITLES[about.subject ?? 'writes'];
  const cells = (layout?.mappings ?? []).flatMap(({ grid }) => (grid === undefined ? [] : [grid.cellBytes]));
  if (cells.length > 0)
    notes.push(`The pages are those at the end of the sample, in cells of ${between(cells)}.`);
  const unknown = unknownKinds(layout?.mappings ?? []);
  if (unknown.size > 0)
    notes.push(`This kernel does not tell these kinds of pages, or not to this user: ${kindsText(unknown)}.`);
  const columns = heat?.columns ?? [];
  if (columns.length > 0) {
    const intervals = columns.reduce((sum, column) => sum + (column.intervals ?? 1), 0);
    const buckets = (heat?.bands ?? []).map(({ bucketBytes }) => bucketBytes);
    const joined = intervals === columns.length ? '' : `, joined to ${humanCount(columns.length)} columns`;
    notes.push(
      `${tracked} of ${plural(intervals, 'interval')}${joined}${buckets.length === 0 ? '' : `, in parts of ${between(buckets)}`}.`,
    );
  }
  const skipped = tracking.skipped ?? [];
  if (skipped.length > 0) {
    const reasons = [...new Set(skipped.map(({ reason }) => reason))].join(', ');
    notes.push(`Not tracked: ${plural(skipped.length, 'mapping')} (${reasons}).`);
  }
  if (tracking.state === 'off') notes.push(`${tracked} were not tracked: ${tracking.why}.`);
  return notes;
}

/** A model within the limits of a file: of too many mappings and bands, the most telling ones. */
export function boundModel(model: PageModel): PageModel {
  const notes = [...model.notes];
  let { layout, heat } = model;
  if (layout !== null && layout.mappings.length > REPORT_LIMITS.mappings) {
    const mappings = [...layout.mappings]
      .sort((a, b) => b.end - b.start - (a.end - a.start))
      .slice(0, REPORT_LIMITS.mappings)
      .sort((a, b) => a.start - b.start);
    notes.push(
      `The report shows the ${humanCount(mappings.length)} largest of ${humanCount(layout.mappings.length)} mappings.`,
    );
    layout = { ...layout, mappings };
  }
  if (heat !== null && heat.bands.length > REPORT_LIMITS.bands) {
    const total = (cells: readonly number[]) =>
      cells.reduce((sum, value, index) => (index % 3 === 2 ? sum + value : sum), 0);
    const bands = heat.bands
      .map((band) => ({ band, pages: total(band.cells) }))
      .sort((a, b) => b.pages - a.pages)
      .slice(0, REPORT_LIMITS.bands)
      .filter(({ pages }) => pages > 0)
      .map(({ band }) => band)
      .sort((a, b) => a.start - b.start);
    if (heat.bands.filter(({ cells }) => cells.length > 0).length > bands.length) {
      const { source, subject = 'writes' } = model.about;
      const tracked = source === 'snapshots' ? 'changes' : SUBJECT_TITLES[subject].toLowerCase();
      notes.push(`The report shows the ${humanCount(bands.length)} mappings with the most ${tracked}.`);
    }
    heat = { ...heat, bands };
  }
  return { ...model, layout, heat, notes };
}
