/** Recordings of a small fleet of which everything is known: two hosts, three processes, four hours around a deployment at noon. */
import { PAGE_SIZE } from '../../src/abi/index.js';
import { Recorder } from '../../src/record/index.js';

export const DEPLOYED_AT = Date.UTC(2026, 0, 1, 12);
const HOURS = 4;
const INTERVAL_MS = 10_000;
const MIB = 2 ** 20;

export interface FleetProcess {
  readonly host: string;
  readonly pid: number;
  readonly process: string;
  /** Pages of the heap that are written in each interval, before and after the deployment. */
  readonly heapPages: readonly [before: number, after: number];
  readonly filePages: number;
}

export const FLEET: readonly FleetProcess[] = [
  { host: 'web-1', pid: 101, process: 'web', heapPages: [100, 40], filePages: 10 },
  { host: 'web-2', pid: 202, process: 'web', heapPages: [120, 60], filePages: 10 },
  { host: 'db 1/ö%', pid: 7, process: 'postgres', heapPages: [5, 5], filePages: 500 },
];

const MAPPINGS = [
  { start: 0x5500_0000_0000, end: 0x5500_0000_0000 + 16 * MIB, name: '[heap]', perms: 'rw-p' },
  {
    start: 0x7f00_0000_0000,
    end: 0x7f00_0000_0000 + 64 * MIB,
    name: '/var/lib/data; DROP TABLE "x"',
    perms: 'rw-s',
  },
];

type Page = readonly [present: number, idle: readonly (number | null)[]];

/** A mapping with so many pages in memory, of which so many lie idle. */
function layoutOf({ start, end, name, perms }: (typeof MAPPINGS)[number], [present, idle]: Page) {
  const pages = (end - start) / PAGE_SIZE;
  const isFile = perms === 'rw-s';
  const mapping = { start, end, name, perms, inode: isFile ? 1 : 0, offset: 0, deleted: false };
  return {
    mapping: { ...mapping, device: { major: 0, minor: 0 } },
    ...{ pages, present, swapped: 3, file: isFile ? present : 0, pfnzero: 0, huge: 0, guard: 0 },
    kinds: [0, isFile ? 0 : present, isFile ? present : 0, 0, 3, 0, pages - present - 3],
    idle,
  };
}

/** Two processes whose accesses are recorded: what each needs within ten minutes, and what of its heap lies idle for an hour. Pages. */
export const ACCESSED = [
  { host: 'web-1', pid: 101, process: 'web', needed: 900, present: 4096, idleHour: 3000 },
  { host: 'db-1', pid: 7, process: 'postgres', needed: 2500, present: 4000, idleHour: 500 },
] as const;

/** Records their accesses to a folder: two hours, by minutes, of a sample. */
export async function recordAccesses(folder: string): Promise<void> {
  for (const { host, pid, process, needed, present, idleHour } of ACCESSED) {
    let now = DEPLOYED_AT;
    const recorder = await Recorder.create(
      folder,
      { pid, name: process, commandLine: process },
      {
        ...{ intervalMs: 60_000, toolVersion: 'test', host, flushMs: 3_600_000, now: () => now },
        ...{ subject: 'accesses', sampled: 0.5 },
      },
    );
    for (let minute = 1; minute <= 120; minute++) {
      now += 60_000;
      const elapsedMs = minute * 60_000;
      const heapAt = MAPPINGS[0]!.start;
      // Half of what it touches is in the sample.
      recorder.region(heapAt, heapAt + (needed / 10) * PAGE_SIZE);
      await recorder.interval(
        {
          elapsedMs,
          intervalMs: 60_000,
          scanMs: 2,
          writtenPages: needed / 5,
          errorPages: 7,
          mappings: MAPPINGS,
        },
        { late: false, distinctPages: needed, workingSet: [needed / 5, needed / 5, needed] },
      );
      if (minute % 10 !== 0) continue;
      const idle = [idleHour + 200, idleHour + 100, minute < 60 ? null : idleHour];
      await recorder.layout([layoutOf(MAPPINGS[0]!, [present, idle])], elapsedMs);
    }
    await recorder.close('duration');
  }
}

/** Records them to a folder. */
export async function recordFleet(folder: string): Promise<void> {
  for (const { host, pid, process, heapPages, filePages } of FLEET) {
    let now = DEPLOYED_AT - (HOURS / 2) * 3_600_000;
    const began = now;
    const recorder = await Recorder.create(
      folder,
      { pid, name: process, commandLine: `${process} --serve` },
      { intervalMs: INTERVAL_MS, toolVersion: 'test', host, flushMs: 3_600_000, now: () => now },
    );
    const layout = () =>
      recorder.layout(
        MAPPINGS.map((mapping) => {
          const present = (mapping.end - mapping.start) / PAGE_SIZE / 2;
          return { ...layoutOf(mapping, [present, []]), idle: undefined };
        }),
        now - began,
      );
    await layout();
    for (let round = 1; round <= (HOURS * 3_600_000) / INTERVAL_MS; round++) {
      now += INTERVAL_MS;
      const heap = heapPages[now < DEPLOYED_AT ? 0 : 1]!;
      const [heapAt, fileAt] = [MAPPINGS[0]!.start, MAPPINGS[1]!.start];
      // The heap is written at its beginning, the file where it has come to.
      recorder.region(heapAt, heapAt + heap * PAGE_SIZE);
      const page = (round * 7) % 15_000;
      recorder.region(fileAt + page * PAGE_SIZE, fileAt + (page + filePages) * PAGE_SIZE);
      await recorder.interval(
        {
          elapsedMs: now - began,
          intervalMs: INTERVAL_MS,
          scanMs: 2,
          writtenPages: heap + filePages,
          mappings: MAPPINGS,
        },
        {
          late: round % 100 === 0,
          distinctPages: 1000 + round,
          workingSet: [heap + filePages, heap + 6 * filePages, 1000],
        },
      );
    }
    await layout();
    await recorder.close('duration');
  }
}
