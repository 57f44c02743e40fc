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
        MAPPINGS.map(({ start, end, name, perms }) => {
          const pages = (end - start) / PAGE_SIZE;
          const present = pages / 2;
          const isFile = perms === 'rw-s';
          return {
            mapping: {
              start,
              end,
              name,
              perms,
              inode: isFile ? 1 : 0,
              offset: 0,
              device: { major: 0, minor: 0 },
              deleted: false,
            },
            ...{ pages, present, swapped: 3, file: isFile ? present : 0, pfnzero: 0, huge: 0, guard: 0 },
            kinds: [0, isFile ? 0 : present, isFile ? present : 0, 0, 3, 0, pages - present - 3],
          };
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
