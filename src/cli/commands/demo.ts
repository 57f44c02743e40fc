import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { PAGE_SIZE } from '../../abi/index.js';
import { compileWhere, forEachRegion, RegionDealer } from '../../query/index.js';
import { legend } from '../bar.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Output } from '../output.js';
import type { SampleMessage } from '../sample.js';
import { openTarget } from '../target.js';
import { outputStyle } from '../text.js';
import { countRows, mapsTable } from './maps.js';
import { textSink } from './scan.js';

const FILTER = 'present & !file & !pfnzero';

/** Starts the sample process and waits for its memory to be ready. */
async function startSample(): Promise<{ child: ChildProcess; sample: SampleMessage }> {
  const child = fork(fileURLToPath(new URL('../sample.js', import.meta.url)), {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    execArgv: [],
  });
  let trouble = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    trouble += text;
  });
  const failed = once(child, 'exit').then(() => {
    throw new CliError(EXIT.failed, `Cannot start the sample process: it ended\n${trouble.trim()}`);
  });
  // Once it is up, its end is what we want.
  failed.catch(() => undefined);
  const [sample] = (await Promise.race([once(child, 'message'), failed])) as [SampleMessage];
  return { child, sample };
}

/** The work of `pmscan demo`. */
export async function demoCommand(options: { color?: boolean }): Promise<ExitCode> {
  const { child, sample } = await startSample();
  try {
    const style = outputStyle(options.color !== false);
    const { colors } = style;
    const output = new Output();
    using pagemap = openTarget(String(child.pid));

    output.line(
      `A sample process (${child.pid}) on Linux ${release()}, with a mapping of each kind, by PAGEMAP_SCAN:`,
    );
    output.line('');
    const counted = await countRows(pagemap, sample.parts);
    for (const line of mapsTable(counted!.rows, counted!, style)) output.line(line);
    output.line(legend(style));
    for (const reason of sample.missing) output.line(`Not shown: ${reason}`);
    output.line('');

    output.line(colors.bold(`What would have to be copied: --where '${FILTER}'`));
    const sink = textSink(output, style);
    const totals = { regions: 0, pages: 0 };
    const dealer = new RegionDealer(sample.parts, (index, start, end, categories) => {
      totals.regions++;
      totals.pages += (end - start) / PAGE_SIZE;
      sink.region(start, end, categories, sample.parts[index]);
    });
    const filter = compileWhere(FILTER);
    for (const { start, end } of sample.parts) {
      const query = { start, end, ...filter, returnMask: 0x7f };
      forEachRegion(pagemap, query, (from, to, categories) => dealer.add(from, to, categories));
    }
    sink.end(totals, undefined);
    output.line('');
    output.line(
      'Next: `pmscan maps PID` or `pmscan scan PID --where ...` on a process of yours; `pmscan --help` for all',
    );
    await output.flush();
    return EXIT.done;
  } finally {
    // It ends when the channel closes; it may have ended before.
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit');
      if (child.connected) child.disconnect();
      await gone;
    }
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
    .addHelpText('after', '\nExample:\n  pmscan demo')
    .action((_options: unknown, command: Command) => run(() => demoCommand(command.optsWithGlobals())));
}
