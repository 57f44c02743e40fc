import { Argument, type Command } from 'commander';
import { complete, completeForBash, unquote } from '../complete.js';
import { SCRIPTS, SHELLS, type Shell } from '../completion-scripts.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Output } from '../output.js';

/** One answer a line. */
function answers(program: Command, shell: Shell, words: readonly string[]): string[] {
  if (shell === 'bash') return completeForBash(program, words[0]!, words[1] ?? '');
  return complete(
    program,
    words.map((word) => unquote(word).word),
  ).map(({ value, about }) => `${value}\t${about}`);
}

export function addCompletionCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('completion')
    .description('print what a shell needs to complete commands, options, processes and mappings')
    .usage('<shell>')
    .addArgument(new Argument('[shell]', 'which one').choices(SHELLS))
    .argument('[words...]', 'behind `--`: the words to complete; this is how the shell asks')
    .addHelpText(
      'after',
      `
Examples:
  source <(pmscan completion bash)            in ~/.bashrc
  source <(pmscan completion zsh)             in ~/.zshrc, behind compinit
  pmscan completion fish | source             in ~/.config/fish/config.fish`,
    )
    .action((shell: Shell | undefined, words: string[]) =>
      run(async () => {
        if (shell === undefined)
          throw new CliError(EXIT.usage, `Give the shell: pmscan completion ${SHELLS.join(', or ')}`);
        const output = new Output();
        if (words.length === 0) output.write(SCRIPTS[shell]);
        else for (const line of answers(program, shell, words)) output.line(line);
        await output.flush();
        return EXIT.done;
      }),
    );
}
