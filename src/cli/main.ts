#!/usr/bin/env node
import { type Command, CommanderError } from 'commander';
import { madeOf } from '../parts/index.js';
import { EXIT, type ExitCode, report } from './exit.js';
import { WrappedCommand } from './help-text.js';
import { handleWriteErrors } from './output.js';
import { printable } from './text.js';
import { version } from './version.js';

async function run(work: () => Promise<ExitCode>): Promise<void> {
  try {
    process.exitCode = await work();
  } catch (error) {
    process.exitCode = report(error);
  }
}

handleWriteErrors();

const program = new WrappedCommand('pmscan')
  .description(
    'The state of every page of a process, and the pages that were written since you last asked (PAGEMAP_SCAN)',
  )
  .version([version, madeOf()].filter(Boolean).join(' '), '-V, --version', 'print the version')
  .helpOption('-h, --help', 'show help')
  .option('--no-color', 'no colours (so does NO_COLOR in the environment)')
  .showHelpAfterError('(`pmscan --help`, or `pmscan COMMAND --help`, says how it is used)')
  .configureOutput({
    // Arguments are echoed in usage errors.
    outputError: (text, write) =>
      write(
        text
          .split('\n')
          .map(printable)
          .join('\n')
          .replace(/^error:/, 'pmscan:'),
      ),
  })
  .exitOverride()
  .addHelpText(
    'after',
    `
Exit codes: 0 done, 1 failed, 2 usage, 3 no such process, 4 not permitted, 5 this kernel cannot, 130 interrupted

Examples:
  pmscan demo                             see it at work
  pmscan maps redis-server                where a process's memory is
  pmscan scan 1234 --where 'swapped'      which pages were swapped out
  pmscan watch postgres                   which pages are written, live
  pmscan serve postgres                   the same in a web page, as pictures
  pmscan record postgres -o rec.parquet   the same, kept for later
  pmscan report rec.parquet -o rec.html   its pictures, in one HTML file
  pmscan wss postgres                     how much memory it needs
  pmscan core 1234                        a core file, nearly without a stop
  pmscan snap 1234 -o snapshots           its memory through time
  pmscan run test.jsonl --check           a scenario, on the simulator
  pmscan doctor                           what this kernel and this user can do
  pmscan help watch                       a command's manual page`,
  );

type Run = typeof run;
type Add = (program: Command, run: Run, commandLine: readonly string[] | undefined) => void;

/** In the order of the help text. */
const COMMANDS: Readonly<Record<string, () => Promise<Add>>> = {
  scan: async () => (await import('./commands/scan.js')).addScanCommand,
  maps: async () => (await import('./commands/maps.js')).addMapsCommand,
  watch: async () => (await import('./commands/watch.js')).addWatchCommand,
  wss: async () => (await import('./commands/wss.js')).addWssCommand,
  snap: async () => (await import('./commands/snap.js')).addSnapCommand,
  core: async () => (await import('./commands/core.js')).addCoreCommand,
  serve: async () => (await import('./commands/serve.js')).addServeCommand,
  record: async () => (await import('./commands/record.js')).addRecordCommand,
  report: async () => (await import('./commands/report.js')).addReportCommand,
  run: async () => (await import('./commands/run.js')).addRunCommand,
  doctor: async () => (await import('./commands/doctor.js')).addDoctorCommand,
  demo: async () => (await import('./commands/demo.js')).addDemoCommand,
  completion: async () => (await import('./commands/completion.js')).addCompletionCommand,
  help: async () => (await import('./commands/help.js')).addHelpCommand,
};

const name = process.argv.slice(2).find((argument) => !argument.startsWith('-')) ?? '';
// `pmscan watch -- CMD ARGS`: what stands behind the dashes is not ours to parse.
const dashes = process.argv.indexOf('--');
const commandLine =
  (name === 'watch' || name === 'record') && dashes >= 0 ? process.argv.slice(dashes + 1) : undefined;
const own = commandLine === undefined ? process.argv : process.argv.slice(0, dashes);

/** The commands to load. A completion is about the one that is named in its words, `help` may be about any. */
function commandsFor(name: string): string[] {
  const all = Object.keys(COMMANDS);
  if (name === 'completion' && process.argv.includes('--')) {
    const words = process.argv.slice(3).join(' ').split(/\s+/);
    const named = all.filter((each) => words.includes(each));
    return named.length > 0 ? [name, ...named] : all;
  }
  return all.includes(name) && name !== 'help' ? [name] : all;
}

// Loading all of them would take a quarter of a second; help and errors list all.
const asksVersion =
  name === '' && process.argv.slice(2).some((each) => each === '-V' || each === '--version');
const wanted = asksVersion ? [] : commandsFor(name).map((each) => COMMANDS[each]!);

// A function, since the single executable's code is CommonJS, which has no await outside of one.
async function main(): Promise<void> {
  for (const add of await Promise.all(wanted.map((load) => load()))) add(program, run, commandLine);
  try {
    await program.parseAsync(own);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

void main();
