/** Options of all commands that copy memory: which mappings, and for how long the process may be stopped. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from './options.js';

/** `0x33`, `33` (hexadecimal, as /proc/PID/coredump_filter shows it): a set of nine bits. */
function parseFilter(text: string): number {
  const value = /^(0x)?[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : Number.NaN;
  if (!(value <= 0x1ff)) {
    throw new InvalidArgumentError(
      'Give nine bits in hexadecimal, as in /proc/PID/coredump_filter: 33, 0x7f.',
    );
  }
  return value;
}

/** An option that may be given several times. */
function addTo(text: string, before: readonly string[] = []): string[] {
  if (text === '') throw new InvalidArgumentError('Give a part of a name, or a pattern with * or ?.');
  return [...before, text];
}

export function addMappingChoice(command: Command): Command {
  return command
    .option('--filter <mask>', "which mappings, as in man core(5); the process's own by default", parseFilter)
    .option('--only <pattern>', 'only mappings with this in their name; may be repeated', addTo)
    .option('--without <pattern>', 'leave out mappings with this in their name; may be repeated', addTo)
    .option('--zero <pattern>', 'write such mappings as zeros: for secrets', addTo);
}

export function addPauseOptions(command: Command): Command {
  return command
    .option('--max-pause <time>', 'the longest time that it may be stopped', parseDuration)
    .addOption(
      new Option('--over-pause <what>', 'when that is not enough: fail, or accept a longer stop')
        .choices(['fail', 'accept'])
        .default('fail'),
    )
    .addOption(
      new Option('--shared <when>', 'copy memory that others can write: at the stop, or while it runs')
        .choices(['stop', 'running'])
        .default('stop'),
    );
}
