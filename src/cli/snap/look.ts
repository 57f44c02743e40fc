/** The parts of `pmscan snap` that look at what was taken. */
import { resolve } from 'node:path';
import { type Owner, ownedLabel, ownerText } from '../../owners/internal.js';
import type { MappingDifference, SnapshotDifference } from '../../snapshot/index.js';
import { explainOutput, openOutput } from '../../snapshot/internal.js';
import { type Column, loadWidths, tableLines } from '../columns.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { Output } from '../output.js';
import { checkOutput } from '../output-file.js';
import { hex, humanBytes, humanCount, plural, printable } from '../text.js';
import { asJson, describeDamaged, describeLine, LIST_HEADER, localTime } from './describe.js';
import { ownersOfSnapshot } from './owners.js';
import { type ByteRange, chooseSnapshot, type SnapshotName, withSnapshots } from './where.js';

export const LIST_SCHEMA = 'pagemap-scan/snap-list@1';
export const DIFF_SCHEMA = 'pagemap-scan/snap-diff@1';
export const HISTORY_SCHEMA = 'pagemap-scan/snap-history@1';
export const VERIFY_SCHEMA = 'pagemap-scan/snap-verify@1';
export const SNAP_CORE_SCHEMA = 'pagemap-scan/snap-core@1';

/** Of a command line, more is not shown. */
const MOST_CHARACTERS = 200;

export interface LookOptions {
  readonly json?: boolean | undefined;
}

export function listCommand(folder: string, { json }: LookOptions): Promise<ExitCode> {
  return withSnapshots(folder, async (snapshots) => {
    const output = new Output();
    const infos = snapshots.list();
    const damaged = snapshots.damaged();
    const { pid, name, commandLine } = snapshots.process;
    const { architecture } = snapshots.machine;
    if (json) {
      const about = { schema: LIST_SCHEMA, pid, name, commandLine, architecture };
      output.line(JSON.stringify({ ...about, snapshots: infos.map(asJson), damaged }));
    } else {
      const command = printable(commandLine.slice(0, MOST_CHARACTERS));
      const where = architecture === process.arch ? '' : ` (on ${architecture})`;
      const count = infos.length + damaged.length;
      const lost = damaged.length === 0 ? '' : `; ${damaged.length} of them damaged`;
      output.line(`${plural(count, 'snapshot')} of process ${pid}, ${command}${where}${lost}`);
      if (count > 0) output.line(LIST_HEADER);
      const rows = [
        ...infos.map((info) => [info.number, describeLine(info)] as const),
        ...damaged.map((each) => [each.number, describeDamaged(each)] as const),
      ];
      for (const [, text] of rows.sort(([one], [other]) => one - other)) output.line(text);
    }
    await output.flush();
    return EXIT.done;
  });
}

export interface SnapCoreOptions extends LookOptions {
  readonly output?: string | undefined;
}

export function coreOfSnapshot({ folder, which }: SnapshotName, options: SnapCoreOptions): Promise<ExitCode> {
  if (options.output === '-')
    throw new CliError(
      EXIT.usage,
      'Cannot write this core file to standard output: it is not written in order; name a file',
    );
  return withSnapshots(folder, async (snapshots) => {
    const snapshot = snapshots.open(chooseSnapshot(snapshots, which));
    const { number } = snapshot.info;
    const file = resolve(options.output ?? `core.${snapshots.process.pid}.${number}`);
    checkOutput(file);
    const { bytes, storedBytes } = await snapshot.writeCore(file);
    if (options.json) {
      const output = new Output();
      const { pid } = snapshots.process;
      output.line(JSON.stringify({ schema: SNAP_CORE_SCHEMA, pid, number, file, bytes, storedBytes }));
      await output.flush();
    } else
      process.stderr.write(
        `pmscan: ${printable(file)}: ${humanBytes(bytes)}, ${humanBytes(storedBytes)} on the disk; snapshot ${number}, ${localTime(snapshot.info.time)}\n`,
      );
    return EXIT.done;
  });
}

export interface DiffCommandOptions extends LookOptions {
  readonly regions?: boolean | undefined;
}

export function diffCommand(
  from: SnapshotName,
  to: SnapshotName,
  { json, regions }: DiffCommandOptions,
): Promise<ExitCode> {
  if (resolve(from.folder) !== resolve(to.folder))
    throw new CliError(
      EXIT.usage,
      'Cannot compare snapshots in two folders: they are of two processes; name one folder',
    );
  return withSnapshots(from.folder, async (snapshots) => {
    const [first, last] = [from, to].map(({ which }) => chooseSnapshot(snapshots, which)) as [number, number];
    const difference = await snapshots.diff(first, last, { ranges: regions });
    const { pid } = snapshots.process;
    const after = ownersOfSnapshot(pid, snapshots.open(difference.to));
    let before: ReturnType<typeof ownersOfSnapshot> | undefined;
    const ownerOf: OwnerOf = ({ start, state }) => {
      // Another mapping may lie by now where one that is gone was.
      const owner = state === 'gone' ? undefined : after.get(start);
      if (owner !== undefined || state === 'new') return owner;
      before ??= ownersOfSnapshot(pid, snapshots.open(difference.from));
      return before.get(start);
    };
    const output = new Output();
    if (json) output.line(JSON.stringify(diffAsJson(pid, difference, ownerOf, regions === true)));
    else {
      await loadWidths();
      for (const line of diffLines(difference, ownerOf)) output.line(line);
    }
    await output.flush();
    return EXIT.done;
  });
}

type OwnerOf = (mapping: Pick<MappingDifference, 'start' | 'state'>) => Owner | undefined;

const ownerJson = (owner: Owner | undefined) => ({
  owner: owner === undefined ? null : ownerText(owner),
  ownerKind: owner?.kind ?? null,
});

function diffAsJson(
  pid: number,
  { mappings, rewrittenPages, ...totals }: SnapshotDifference,
  ownerOf: OwnerOf,
  withRegions: boolean,
) {
  return {
    schema: DIFF_SCHEMA,
    pid,
    ...totals,
    rewrittenPages: rewrittenPages ?? null,
    mappings: mappings.map(({ start, end, name, ranges, ...rest }) => ({
      start: hex(start),
      end: hex(end),
      name,
      ...ownerJson(ownerOf({ start, state: rest.state })),
      ...rest,
      ...(withRegions && {
        regions: ranges.map((range) => ({ start: hex(range.start), end: hex(range.end) })),
      }),
    })),
  };
}

const COLUMNS: readonly Column[] = [
  { title: 'ADDRESS', align: 'right' },
  { title: 'BYTES', align: 'right' },
  { title: 'PAGES', align: 'right' },
  { title: 'REWRITTEN', align: 'right' },
  { title: 'NAME', align: 'left' },
];

function diffLines(difference: SnapshotDifference, ownerOf: OwnerOf): string[] {
  const { from, to, changedPages, changedBytes, rewrittenPages, mappings } = difference;
  const label = (row: MappingDifference) =>
    `${ownedLabel(row, ownerOf(row))}${row.state === undefined ? '' : ` (${row.state})`}`;
  const rows = mappings.map((row) => [
    hex(row.start),
    humanCount(row.changedBytes),
    humanCount(row.changedPages),
    rewrittenPages === undefined ? '?' : humanCount(row.rewrittenPages),
    label(row),
  ]);
  const lines: string[] = [];
  if (rows.length > 0) lines.push(...tableLines(COLUMNS, rows));
  for (const { ranges } of mappings)
    for (const { start, end } of ranges) lines.push(`${hex(start)}  ${plural(end - start, 'byte')}`);
  const same =
    rewrittenPages === undefined
      ? 'pages that were written with the same bytes are not known'
      : `${plural(rewrittenPages, 'page')} written with the same bytes`;
  lines.push(
    `${from} to ${to}: ${plural(changedBytes, 'byte')} changed in ${plural(changedPages, 'page')}; ${same}`,
  );
  return lines;
}

/** Bytes that are shown of a line; the rest is cut. */
const MOST_SHOWN_BYTES = 32;

function showBytes(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return 'not there';
  const shown = [...bytes.subarray(0, MOST_SHOWN_BYTES)].map((byte) => byte.toString(16).padStart(2, '0'));
  const rest = bytes.length > MOST_SHOWN_BYTES ? ' …' : '';
  if (bytes.length > 8 || ![1, 2, 4, 8].includes(bytes.length)) return shown.join(' ') + rest;
  return `${shown.join(' ')}  0x${[...shown]
    .reverse()
    .join('')
    .replace(/^0+(?=.)/, '')}`;
}

export function historyCommand(
  folder: string,
  { address, lengthBytes }: ByteRange,
  { json }: LookOptions,
): Promise<ExitCode> {
  return withSnapshots(folder, async (snapshots) => {
    const damaged: number[] = [];
    const entries = snapshots.history(address, lengthBytes, { onDamaged: (number) => damaged.push(number) });
    const output = new Output();
    if (json) {
      output.line(
        JSON.stringify({
          schema: HISTORY_SCHEMA,
          pid: snapshots.process.pid,
          address: hex(address),
          lengthBytes,
          entries: entries.map(({ number, time, bytes, writtenSame }) => ({
            number,
            time: time.toISOString(),
            bytes: bytes === undefined ? null : Buffer.from(bytes).toString('hex'),
            writtenSame,
          })),
          damaged,
        }),
      );
    } else
      for (const { number, time, bytes, writtenSame } of entries) {
        const same =
          writtenSame > 0 ? `  (then written ${plural(writtenSame, 'time')} with the same bytes)` : '';
        output.line(`${String(number).padStart(6)}  ${localTime(time)}  ${showBytes(bytes)}${same}`);
      }
    await output.flush();
    if (damaged.length > 0)
      process.stderr.write(
        `pmscan: left out damaged snapshots: ${damaged.join(', ')}; changes of the bytes may be missing\n`,
      );
    return EXIT.done;
  });
}

export interface ExportOptions {
  readonly output?: string | undefined;
}

/** Written at once, bytes. */
const PIECE_BYTES = 1 << 20;

export function exportCommand(
  { folder, which }: SnapshotName,
  ranges: readonly ByteRange[],
  { output }: ExportOptions,
): Promise<ExitCode> {
  const isToStdout = output === undefined || output === '-';
  if (isToStdout && process.stdout.isTTY === true)
    throw new CliError(EXIT.usage, 'Cannot write memory to a terminal; redirect it, or name a file: -o FILE');
  return withSnapshots(folder, async (snapshots) => {
    const snapshot = snapshots.open(chooseSnapshot(snapshots, which));
    const pieces = function* () {
      for (const { address, lengthBytes } of ranges)
        for (let done = 0; done < lengthBytes; done += PIECE_BYTES)
          yield snapshot.read(address + done, Math.min(PIECE_BYTES, lengthBytes - done));
    };
    if (isToStdout) {
      for (const piece of pieces())
        if (!process.stdout.write(piece)) await new Promise((done) => process.stdout.once('drain', done));
      return EXIT.done;
    }
    const path = resolve(output);
    checkOutput(path);
    using file = openOutput(path);
    let bytes = 0;
    try {
      for (const piece of pieces()) {
        file.writeSync(piece, 0, piece.length, bytes);
        bytes += piece.length;
      }
      await file.publish();
    } catch (error) {
      throw explainOutput(error, path);
    }
    return EXIT.done;
  });
}

export function verifyCommand(folder: string, { json }: LookOptions): Promise<ExitCode> {
  return withSnapshots(folder, async (snapshots) => {
    using interrupt = new Interrupt();
    const found = await snapshots.verify({
      onStep: async () => {
        if (await interrupt.check())
          throw new CliError(EXIT.interrupted, 'interrupted; not everything was checked');
      },
    });
    const { problems, damaged, pages } = found;
    const output = new Output();
    if (json) output.line(JSON.stringify({ schema: VERIFY_SCHEMA, pid: snapshots.process.pid, ...found }));
    else {
      for (const problem of problems) output.line(printable(problem));
      const what = `${plural(found.snapshots, 'snapshot')}, ${plural(pages, 'page')}`;
      const lost = damaged.length === 0 ? '' : `: ${damaged.join(', ')}`;
      output.line(
        problems.length === 0
          ? `${what}: all as they were written`
          : `${what}: ${plural(damaged.length, 'snapshot')} damaged${lost}`,
      );
    }
    await output.flush();
    return problems.length === 0 ? EXIT.done : EXIT.failed;
  });
}
