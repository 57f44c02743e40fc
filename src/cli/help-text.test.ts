import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { addCompletionCommand } from './commands/completion.js';
import { addCoreCommand } from './commands/core.js';
import { addDemoCommand } from './commands/demo.js';
import { addDoctorCommand } from './commands/doctor.js';
import { addHelpCommand } from './commands/help.js';
import { addMapsCommand } from './commands/maps.js';
import { addRecordCommand } from './commands/record.js';
import { addReportCommand } from './commands/report.js';
import { addRunCommand } from './commands/run.js';
import { addScanCommand } from './commands/scan.js';
import { addServeCommand } from './commands/serve.js';
import { addSnapCommand } from './commands/snap.js';
import { addWatchCommand } from './commands/watch.js';
import { addWssCommand } from './commands/wss.js';
import { WrappedCommand, wrapHelp } from './help-text.js';

function everyCommand(columns: number): Command {
  const program = new WrappedCommand('pmscan');
  // Commands take this over when they are made.
  program.configureOutput({ getOutHelpWidth: () => columns });
  const run = async () => undefined;
  for (const add of [addScanCommand, addMapsCommand, addWssCommand, addSnapCommand, addCoreCommand])
    add(program, run);
  for (const add of [addServeCommand, addReportCommand, addRunCommand, addDoctorCommand, addDemoCommand])
    add(program, run);
  for (const add of [addCompletionCommand, addHelpCommand]) add(program, run);
  for (const add of [addWatchCommand, addRecordCommand]) add(program, run, undefined);
  return program;
}

function helpOf(command: Command): string[] {
  const parts: string[] = [];
  command.configureOutput({ ...command.configureOutput(), writeOut: (part) => void parts.push(part) });
  command.outputHelp();
  return parts.join('').split('\n');
}

const withParts = (command: Command): Command[] => [command, ...command.commands.flatMap(withParts)];

test('no line of any help text is longer than 80 columns', () => {
  const commands = withParts(everyCommand(80));
  expect(commands.length).toBeGreaterThan(20);
  const long = commands.flatMap((command) => helpOf(command).filter((line) => line.length > 80));
  expect(long).toEqual([]);
});

test('the help of scan says why pages are written', () => {
  const scan = everyCommand(200).commands.find((command) => command.name() === 'scan')!;
  expect(helpOf(scan).join('\n')).toContain(
    'all pages whose writes nobody tracks count as written; `pmscan watch`',
  );
});

test('help texts are as wide as the terminal', () => {
  const watch = (columns: number) =>
    helpOf(everyCommand(columns).commands.find((command) => command.name() === 'watch')!);
  const paragraphs = (columns: number) => watch(columns).filter((line) => /^[A-Z]/.test(line));
  for (const columns of [60, 80, 120]) {
    const longest = Math.max(...paragraphs(columns).map((line) => line.length));
    expect(longest).toBeLessThanOrEqual(columns);
    expect(longest).toBeGreaterThan(columns - 15);
  }
});

test('paragraphs are broken between words, examples are not broken', () => {
  const text = `
One two three
four five six seven.

Examples:
  pmscan short        what it does
  pmscan rather-long-command --with-options   a remark that is too long for it
  pmscan another-command-without-a-remark --that-is-too-long-for-it`;
  expect(wrapHelp(text, 30)).toBe(`
One two three four five six
seven.

Examples:
  pmscan short
      what it does
  pmscan rather-long-command --with-options
      a remark that is too
      long for it
  pmscan another-command-without-a-remark --that-is-too-long-for-it`);
});
