import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import type { Command } from 'commander';
import {
  mman,
  PAGE_IS_PFNZERO,
  PAGE_IS_WRITTEN,
  PAGE_SIZE,
  type Pagemap,
  PagemapError,
  PM_SCAN_WP_MATCHING,
  uffd,
} from '../../abi/index.js';
import { chooseProvider, kernelCategories, openPagemap, pageSize } from '../../live/index.js';
import { programArgument } from '../../parts/index.js';
import { compileWhere, forEachRegion, RegionDealer } from '../../query/internal.js';
import { AddressSpace } from '../../sim/index.js';
import { type ProcessTracker, trackProcess } from '../../track/index.js';
import { legend } from '../bar.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Ending } from '../interrupt.js';
import { Output } from '../output.js';
import {
  buildSample,
  type Sample,
  type SampleMemory,
  type SamplePart,
  SampleWriters,
} from '../sample-layout.js';
import { humanBytes, outputStyle, type Style } from '../text.js';
import { LogScale, MappingHeat } from '../watch/heat.js';
import { watchLoop } from '../watch/loop.js';
import type { Collected, WatchTracker } from '../watch/tracker.js';
import { countRows, mapsTable } from './maps.js';
import { textSink } from './scan.js';

/** Without the zero page where it can be told. */
const filterFor = (categories: number) =>
  categories & PAGE_IS_PFNZERO ? 'present & !file & !pfnzero' : 'present & !file';
const INTERVAL_MS = 500;
const WATCH_MS = 3000;

/** The sample, where its pages can be asked for and its writes be tracked. */
interface Stage extends AsyncDisposable {
  readonly title: string;
  readonly sample: Sample;
  readonly pagemap: Pagemap;
  readonly categories: number;
  /** What it does not know may be there nevertheless. */
  readonly partial: boolean;
  /** Begins to track; a text says why that cannot be. */
  track(): Promise<(WatchTracker & Disposable) | string>;
}

/** The sample as a process, by the kernel. */
async function processStage(): Promise<Stage> {
  const child = fork(programArgument('cli/sample'), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
  });
  const end = async () => {
    // It ends when the channel closes; it may have ended before.
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    if (child.connected) child.disconnect();
    await gone;
  };
  try {
    const sample = await report(child);
    const pid = child.pid!;
    const pagemap = openPagemap(pid);
    return {
      title: `A sample process (${pid}) on Linux ${release()}, with a mapping of each kind, by ${
        pagemap.provider === 'ioctl' ? 'PAGEMAP_SCAN' : 'pagemap and smaps, without PAGEMAP_SCAN'
      }:`,
      sample,
      pagemap,
      categories: pagemap.categories,
      partial: pagemap.provider === 'fallback',
      async track(): Promise<ProcessTracker | string> {
        try {
          return await trackProcess(pid);
        } catch (error) {
          if (error instanceof PagemapError) return error.message;
          throw error;
        }
      },
      async [Symbol.asyncDispose]() {
        pagemap[Symbol.dispose]();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** What the sample process says when its memory is ready. */
async function report(child: ChildProcess): Promise<Sample> {
  let trouble = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    trouble += text;
  });
  const failed = once(child, 'exit').then(() => {
    throw new CliError(EXIT.failed, `Cannot start the sample process: it ended\n${trouble.trim()}`);
  });
  // Once it is up, its end is what we want.
  failed.catch(() => undefined);
  const [sample] = (await Promise.race([once(child, 'message'), failed])) as [Sample];
  return sample;
}

/** The same in simulated memory: everything but the hardware is the same. */
export function simulatedStage(why: string): Stage {
  const space = new AddressSpace();
  const memory: SampleMemory = {
    swap: true,
    map({ lengthBytes, kind }) {
      const file = kind === 'file' ? space.createFile(lengthBytes) : undefined;
      return space.mmap({
        lengthBytes: lengthBytes,
        shared: kind === 'shared',
        ...(file === undefined ? {} : { file, prot: mman.PROT_READ }),
      });
    },
    write: (address) => void space.write(address, PAGE_SIZE),
    read: (address) => void space.read(address, PAGE_SIZE),
    advise: (address, lengthBytes, advice) => space.madvise(address, lengthBytes, advice),
  };
  const sample = buildSample(memory);
  return {
    title: `A sample, SIMULATED because ${why}:`,
    sample,
    pagemap: space.pagemap,
    categories: space.profile.knownCategories,
    partial: false,
    track: async () => new SimulatedTracker(space, sample.written, memory.write),
    async [Symbol.asyncDispose]() {},
  };
}

/** Tracks the sample's writes in simulated memory, and does them, too. */
class SimulatedTracker implements WatchTracker, Disposable {
  readonly pid = 0;
  readonly skipped = [];
  readonly #space: AddressSpace;
  readonly #parts: readonly SamplePart[];
  readonly #writers: SampleWriters;
  readonly #began = performance.now();
  #last = this.#began;

  constructor(space: AddressSpace, parts: readonly SamplePart[], write: (address: number) => void) {
    this.#space = space;
    this.#parts = parts;
    this.#writers = new SampleWriters(parts, write);
    const faults = space.userfaultfd(
      uffd.UFFD_FEATURE_WP_ASYNC | uffd.UFFD_FEATURE_WP_UNPOPULATED | uffd.UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
    );
    for (const { start, end } of parts) {
      faults.register(start, end - start);
      faults.writeProtect(start, end - start, true);
    }
  }

  collect(visit?: (start: number, end: number) => void): Collected {
    const before = performance.now();
    // As many steps as the sample process would have taken meanwhile.
    for (let at = this.#last; at < before; at += 10) this.#writers.step();
    const scanned = performance.now();
    const mappings = this.#parts.map(({ start, end, name }) => {
      let writtenPages = 0;
      const query = {
        start,
        end,
        flags: PM_SCAN_WP_MATCHING,
        categoryMask: PAGE_IS_WRITTEN,
        returnMask: PAGE_IS_WRITTEN,
      };
      forEachRegion(this.#space.pagemap, query, (from, to) => {
        writtenPages += (to - from) / PAGE_SIZE;
        visit?.(from, to);
      });
      return { start, end, name, writtenPages };
    });
    const now = performance.now();
    const intervalMs = now - this.#last;
    this.#last = now;
    return {
      elapsedMs: now - this.#began,
      intervalMs,
      scanMs: now - scanned,
      writtenPages: mappings.reduce((sum, mapping) => sum + mapping.writtenPages, 0),
      mappings,
    };
  }

  [Symbol.dispose](): void {}
}

export async function showPages(
  stage: Stage,
  output: Pick<Output, 'write' | 'line' | 'flush'>,
  style: Style,
): Promise<void> {
  const { sample, pagemap, categories, partial } = stage;
  const expression = filterFor(categories);
  const { colors } = style;
  output.line(stage.title);
  output.line('');
  const counted = (await countRows(pagemap, sample.parts, { categories, partial }))!;
  // They are the point of this table: they say what each row shows.
  const longestName = Math.max(...sample.parts.map(({ name }) => name.length));
  for (const line of mapsTable(counted.rows, counted, style, longestName)) output.line(line);
  output.line(legend(style));
  for (const reason of sample.missing) output.line(`Not shown: ${reason}`);
  output.line('');

  output.line(colors.bold(`What a fork would have to copy, by a filter: '${expression}'`));
  const sink = textSink(output, style, pagemap.pageSize);
  const totals = { regions: 0, pages: 0 };
  const dealer = new RegionDealer(sample.parts, (index, start, end, found) => {
    totals.regions++;
    totals.pages += (end - start) / PAGE_SIZE;
    sink.region(start, end, found, sample.parts[index]);
  });
  const filter = compileWhere(expression);
  for (const { start, end } of sample.parts) {
    const query = {
      start,
      end,
      ...filter,
      returnMask: categories & (counted.unknown.includes('huge') ? 0x3f : 0x7f),
    };
    forEachRegion(pagemap, query, (from, to, found) => dealer.add(from, to, found));
  }
  sink.end(totals, undefined);
  output.line('written: its writes are not tracked yet, so all of its pages count as written');
  output.line('');
  await output.flush();
}

async function showWrites(
  tracker: WatchTracker,
  sample: Sample,
  output: Output,
  style: Style,
  interrupted: Promise<unknown>,
): Promise<void> {
  const { colors } = style;
  const bytes = (pages: number) => humanBytes(pages * PAGE_SIZE);
  const heats = sample.written.map(({ start, end, name }) => new MappingHeat(start, end, name, PAGE_SIZE));
  const totals = heats.map(() => 0);
  const partOf = (start: number) => heats.findIndex((heat) => heat.start <= start && start < heat.end);

  output.line(colors.bold(`What it writes in ${heats.length} of them, as it does so`));
  await output.flush();
  const fresh = heats.map(() => 0);
  const sink = {
    ended: new Promise<never>(() => undefined),
    region(start: number, end: number) {
      const part = partOf(start);
      if (part < 0) return;
      heats[part]!.add(start, end);
      fresh[part]! += (end - start) / PAGE_SIZE;
    },
    async interval({ elapsedMs, intervalMs }: Collected) {
      const pages = fresh.reduce((sum, count) => sum + count, 0);
      const parts = fresh.map((count, part) => `${heats[part]!.name.replace(/,.*/, '')} ${bytes(count)}`);
      output.line(
        `${(elapsedMs / 1000).toFixed(1).padStart(6)} s  ${bytes((pages / intervalMs) * 1000).padStart(9)}/s   ${parts.join('   ')}`,
      );
      fresh.forEach((count, part) => {
        totals[part]! += count;
      });
      fresh.fill(0);
      await output.flush();
    },
    [Symbol.dispose]() {},
  };
  const { summary } = await watchLoop(
    tracker,
    sink,
    { intervalMs: INTERVAL_MS, durationMs: WATCH_MS, pageSize: PAGE_SIZE },
    interrupted,
  );
  output.line('');
  output.line(
    colors.bold(
      'Where: each strip is a mapping from its start to its end, 1 to 9 says how often, . is never',
    ),
  );
  const seconds = Math.max(summary.elapsedMs, 1) / 1000;
  heats.forEach((heat, part) => {
    heat.endInterval(totals[part]!, seconds);
  });
  const cells = Math.max(8, Math.min(64, style.columns - 40));
  const strips = heats.map((heat) => heat.strip(cells));
  const scale = new LogScale(Math.max(...strips.flat()) * seconds);
  heats.forEach((heat, part) => {
    const strip = strips[part]!.map((value) => scale.level(value * seconds) || '.').join('');
    output.line(`${heat.name.padEnd(24)} ${bytes(totals[part]!).padStart(8)}  ${strip}`);
  });
  output.line('');
  output.line(colors.bold('Everything that it writes, including its own Node.js'));
  // The kernel joins mappings side by side, and calls them after the first: the lines above tell them apart.
  for (const line of summary.sums()) output.line(line);
  output.line('');
  await output.flush();
}

/** The work of `pmscan demo`. */
export async function demoCommand(options: { color?: boolean }): Promise<ExitCode> {
  const style = outputStyle(options.color !== false);
  const output = new Output();
  using ending = new Ending();
  await using stage = await chooseStage();
  await showPages(stage, output, style);
  const found = await stage.track();
  if (typeof found === 'string') {
    output.line(`Its writes cannot be tracked here: ${found}`);
    output.line('`pmscan doctor` says more. The same, SIMULATED:');
    await using simulated = simulatedStage('tracking is not possible');
    using tracker = (await simulated.track()) as WatchTracker & Disposable;
    await showWrites(tracker, simulated.sample, output, style, ending.requested);
  } else {
    using tracker = found;
    await showWrites(tracker, stage.sample, output, style, ending.requested);
  }
  // Started by `npm start`, in a folder where the command is not on the PATH.
  const command = process.env['npm_lifecycle_event'] === undefined ? 'pmscan' : 'npx pmscan';
  output.line(
    `Next: \`${command} maps PID\`, \`${command} watch PID\` on a process of yours; \`${command} --help\` for all`,
  );
  await output.flush();
  return ending.received !== undefined ? EXIT.interrupted : EXIT.done;
}

/** The kernel if it can, the simulator otherwise. */
async function chooseStage(): Promise<Stage> {
  try {
    if (chooseProvider() === 'ioctl' && kernelCategories() === 0)
      return simulatedStage('this kernel has no PAGEMAP_SCAN (Linux 6.7 brought it)');
    // The sample's parts are laid out in pages of 4 KiB, and huge pages of 2 MiB.
    if (pageSize() !== PAGE_SIZE)
      return simulatedStage(
        `this kernel has pages of ${pageSize() / 1024} KiB, and the sample is made of 4 KiB`,
      );
    return await processStage();
  } catch (error) {
    // No Linux, no native module, a sandbox without pagemap, nothing permitted: the message says which.
    if (!(error instanceof PagemapError) || error.code === 'EINVAL') throw error;
    const isHidden = error.code === 'EOPNOTSUPP';
    return simulatedStage(isHidden ? 'this system has no /proc/PID/pagemap' : (error.hint ?? error.message));
  }
}

/** Adds `pmscan demo` to the program. */
export function addDemoCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('demo')
    .description('show it at work on a sample process of its own')
    .addHelpText(
      'after',
      `
Takes a few seconds. Where the kernel cannot, it says so and shows the same on the simulator.

Example:
  pmscan demo`,
    )
    .action((_options: unknown, command: Command) => run(() => demoCommand(command.optsWithGlobals())));
}
