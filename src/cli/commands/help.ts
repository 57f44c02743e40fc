import { spawnSync } from 'node:child_process';
import type { Command } from 'commander';
import { readPart } from '../../parts/index.js';
import { EXIT, type ExitCode } from '../exit.js';

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
    .action(async (name: string | undefined) => {
      const command = name === undefined ? program : program.commands.find((each) => each.name() === name);
      // As where it is run: with the one that may be meant.
      if (command === undefined) await program.parseAsync([name!], { from: 'user' });
      else
        await run(async () => {
          if (!showPage(command === program ? 'pmscan' : `pmscan-${command.name()}`)) command.outputHelp();
          return EXIT.done;
        });
    });
}
