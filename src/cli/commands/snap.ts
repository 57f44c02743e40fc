import { type Command, Option } from 'commander';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { addMappingChoice, addPauseOptions } from '../mapping-choice.js';
import { optionOr, parseCount, parseDuration, parseSize } from '../options.js';
import {
  coreOfSnapshot,
  type DiffCommandOptions,
  diffCommand,
  type ExportOptions,
  exportCommand,
  historyCommand,
  type LookOptions,
  listCommand,
  type SnapCoreOptions,
  verifyCommand,
} from '../snap/look.js';
import { type SnapCommandOptions, snapCommand } from '../snap/take.js';
import { type ByteRange, parseByteRange, parseSnapshotName, type SnapshotName } from '../snap/where.js';
import { TARGET } from '../target.js';
import { printable } from '../text.js';

type Run = (work: () => Promise<ExitCode>) => Promise<void>;

const NAMES = `
DIR@N is one of the snapshots in a folder: DIR@3 by its number, DIR@latest or DIR the newest, DIR@-2 the one before,
DIR@2026-11-29T10:00 the last one that is not later.`;

/** Adds `pmscan snap` to the program, with all its parts. */
export function addSnapCommand(program: Command, run: Run): void {
  const snap = program
    .command('snap')
    .description(
      'take snapshots of a running process, which each stop it for milliseconds; look at them later',
    )
    .usage('[options] <pid> -o <dir>\n       pmscan snap list|core|diff|history|export|verify <dir> ...')
    .argument('[pid]', TARGET)
    .option('-o, --output <dir>', 'the folder to keep them in')
    .addOption(optionOr('--every <time>', 'how often', parseDuration, '10s'))
    .option('--for <time>', 'end after this long', parseDuration)
    .option('--count <n>', 'end after so many', parseCount)
    .addOption(
      new Option('--keep <n>', 'the most snapshots to keep: the oldest are dropped').argParser(parseCount),
    )
    .addOption(
      new Option('--keep-size <size>', 'the most space to take: the oldest are dropped')
        .argParser(parseSize)
        .conflicts('keep'),
    );
  addMappingChoice(snap);
  addPauseOptions(snap)
    .addOption(
      new Option(
        '--compress <kind>',
        'how to compress pages; auto is zstd where Node has it, otherwise deflate',
      )
        .choices(['auto', 'zstd', 'deflate', 'none'])
        .default('none'),
    )
    .option('--json', 'one JSON object a line, for each snapshot')
    .helpCommand(false)
    .allowExcessArguments()
    .addHelpText(
      'after',
      `
The first snapshot copies all memory; each later one only what was written since. Each is the exact state at one moment, with
the registers of all threads. A page is stored once, whatever the number of snapshots that it is in. SIGUSR1 takes one more.
Ends with the process, on Ctrl-C and on SIGTERM. The folder holds all that the process had in memory, passwords and keys
included: only its owner may read it.
${NAMES}

Examples:
  pmscan snap 1234 -o snapshots --every 1s --keep 60     the last minute
  pmscan snap redis-server -o /var/tmp/redis --keep-size 2G
  pmscan snap list snapshots
  pmscan snap diff snapshots@-2 snapshots@latest         what changed, by mapping
  pmscan snap history snapshots 0x7f2c40001000+8         when these bytes changed
  pmscan snap core snapshots@3 -o core                   gdb PROGRAM core`,
    )
    .action((pid: string | undefined, _: SnapCommandOptions, command: Command) =>
      run(async () => {
        if (command.args.length > 1)
          throw new CliError(
            EXIT.usage,
            `Cannot find the part ${printable(pid!)} of pmscan snap; it has ${command.commands.map((each) => each.name()).join(', ')}`,
          );
        return snapCommand(pid, command.optsWithGlobals());
      }),
    );
  addLookCommands(snap, run);
}

// Options that `pmscan snap` has, too, are parsed by it: `optsWithGlobals` has them all.
function addLookCommands(snap: Command, run: Run): void {
  const SNAPSHOT = 'a snapshot, as DIR@N';
  snap
    .command('list')
    .description('list the snapshots in a folder')
    .argument('<dir>', 'the folder')
    .option('--json', 'one JSON document')
    .addHelpText('after', '\nExample:\n  pmscan snap list snapshots --json | jq .snapshots[-1]')
    .action((dir: string, _: LookOptions, command: Command) =>
      run(() => listCommand(dir, command.optsWithGlobals())),
    );
  snap
    .command('core')
    .description('write a snapshot as a core file, as `pmscan core` would have at that moment')
    .argument('<snapshot>', SNAPSHOT, parseSnapshotName)
    .option('-o, --output <file>', 'where to write it (default: core.PID.N)')
    .option('--json', 'one JSON document')
    .addHelpText('after', `${NAMES}\n\nExample:\n  pmscan snap core snapshots@-2 -o core && gdb PROGRAM core`)
    .action((name: SnapshotName, _: SnapCoreOptions, command: Command) =>
      run(() => coreOfSnapshot(name, command.optsWithGlobals())),
    );
  snap
    .command('diff')
    .description('compare two snapshots: the bytes that changed, by mapping')
    .argument('<from>', SNAPSHOT, parseSnapshotName)
    .argument('<to>', 'a later one', parseSnapshotName)
    .option('--regions', 'tell which bytes')
    .option('--json', 'one JSON document')
    .addHelpText('after', `${NAMES}\n\nExample:\n  pmscan snap diff snapshots@1 snapshots@latest --regions`)
    .action((from: SnapshotName, to: SnapshotName, _: DiffCommandOptions, command: Command) =>
      run(() => diffCommand(from, to, command.optsWithGlobals())),
    );
  snap
    .command('history')
    .description('tell when bytes changed, and from what to what')
    .argument('<dir>', 'the folder')
    .argument('<address>', 'hexadecimal, with a length or 8 bytes: 0x7f2c40001000+4', parseByteRange)
    .option('--json', 'one JSON document')
    .addHelpText('after', '\nExample:\n  pmscan snap history snapshots 0x7f2c40001000+4')
    .action((dir: string, range: ByteRange, _: LookOptions, command: Command) =>
      run(() => historyCommand(dir, range, command.optsWithGlobals())),
    );
  snap
    .command('export')
    .description('write bytes of a snapshot as they are')
    .argument('<snapshot>', SNAPSHOT, parseSnapshotName)
    .argument('<ranges...>', 'addresses with lengths, or two: 0x7f2c40001000+4K', addRange)
    .option('-o, --output <file>', 'where to write them (default: standard output)')
    .addHelpText('after', '\nExample:\n  pmscan snap export snapshots@3 0x7f2c40001000+4K | xxd')
    .action((name: SnapshotName, ranges: ByteRange[], _: ExportOptions, command: Command) =>
      run(() => exportCommand(name, ranges, command.optsWithGlobals())),
    );
  snap
    .command('verify')
    .description('check that all bytes are as they were written; exit code 1 if not')
    .argument('<dir>', 'the folder')
    .option('--json', 'one JSON document')
    .addHelpText('after', '\nExample:\n  pmscan snap verify snapshots')
    .action((dir: string, _: LookOptions, command: Command) =>
      run(() => verifyCommand(dir, command.optsWithGlobals())),
    );
}

function addRange(text: string, before: readonly ByteRange[] = []): ByteRange[] {
  return [...before, parseByteRange(text)];
}
