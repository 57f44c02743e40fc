import { spawnSync } from 'node:child_process';
import type { Command } from 'commander';
import { readPart } from '../../parts/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { printable } from '../text.js';

/** Shows a manual page by man(1), as far as there is a terminal, and man, and the page. */
function showPage(name: string): boolean {
  if (process.stdout.isTTY !== true) return false;
  let page: string;
  try {
    page = readPart(`dist/man/${name}.1`);
  } catch {
    return false;
  }
  return spawnSync('man', ['-l', '-'], { input: page, stdio: ['pipe', 'inherit', 'ignore'] }).status === 0;
}

export function addHelpCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .helpCommand(false)
    .command('help')
    .description('show the manual page of a command')
    .argument('[command]', 'which one; without it, the page of pmscan itself')
    .addHelpText(
      'after',
      '\nExamples:\n  pmscan help watch    its manual page; without man(1), or off a terminal, what --help says',
    )
    .action((name: string | undefined) =>
      run(async () => {
        const command = name === undefined ? program : program.commands.find((each) => each.name() === name);
        if (command === undefined)
          throw new CliError(
            EXIT.usage,
            `Cannot find the command ${printable(name!)}; pmscan --help lists all`,
          );
        if (!showPage(command === program ? 'pmscan' : `pmscan-${command.name()}`)) command.outputHelp();
        return EXIT.done;
      }),
    );
}
