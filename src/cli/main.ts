#!/usr/bin/env node
import { Command, CommanderError } from 'commander';
import { addCoreCommand } from './commands/core.js';
import { addDemoCommand } from './commands/demo.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addMapsCommand } from './commands/maps.js';
import { addRecordCommand } from './commands/record.js';
import { addReportCommand } from './commands/report.js';
import { addRunCommand } from './commands/run.js';
import { addScanCommand } from './commands/scan.js';
import { addServeCommand } from './commands/serve.js';
import { addWatchCommand } from './commands/watch.js';
import { EXIT, type ExitCode, report } from './exit.js';
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

const program = new Command('pmscan')
  .description(
    'Which pages of a process are what, and which were written since you last asked (PAGEMAP_SCAN)',
  )
  .version(version, '-V, --version', 'print the version')
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
  pmscan core 1234                        a core file, nearly without a stop
  pmscan run test.jsonl --check           a scenario, on the simulator
  pmscan doctor                           what this kernel and this user can do`,
  );

// `pmscan watch -- CMD ARGS`: what stands behind the dashes is not ours to parse.
const dashes = process.argv.indexOf('--');
const runs = ['watch', 'record'].includes(
  process.argv.slice(2).find((argument) => !argument.startsWith('-')) ?? '',
);
const commandLine = runs && dashes >= 0 ? process.argv.slice(dashes + 1) : undefined;
const own = commandLine === undefined ? process.argv : process.argv.slice(0, dashes);

addScanCommand(program, run);
addMapsCommand(program, run);
addWatchCommand(program, run, commandLine);
addServeCommand(program, run);
addRecordCommand(program, run, commandLine);
addReportCommand(program, run);
addCoreCommand(program, run);
addRunCommand(program, run);
addDoctorCommand(program, run);
addDemoCommand(program, run);

try {
  await program.parseAsync(own);
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.done : EXIT.usage;
}
