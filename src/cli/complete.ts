/**
 * What a shell offers for the word at the cursor. The shells' own parts (`completion-scripts.ts`) only hand over the words and
 * take the answers, so that one piece of code, which tests can call, knows what fits where.
 */
import type { Argument, Command, Option } from 'commander';
import { CATEGORIES } from '../abi/index.js';
import { type NamedProcess, ProcessHandle } from '../live/internal.js';
import { findOwners } from '../owners/internal.js';
import { otherProcesses } from './others.js';
import { printable } from './text.js';

export interface Candidate {
  /** The whole word, not quoted. */
  readonly value: string;
  /** Shown beside it, by shells that do that. */
  readonly about: string;
}

const MOST_ABOUT = 60;
const CATEGORY_OPTIONS = ['--where', '--return'];
/** What patterns call a mapping without a name. */
const UNNAMED = '[anon]';
const MAPPING_OPTIONS = ['--mapping', '--only', '--without', '--zero'];
/** Arguments that are processes, by how commands name them. */
const PROCESS_ARGUMENTS = ['pid', 'pids'];

/** Names come from other processes: one that would do something to a terminal is not offered. */
const isPlain = (name: string) => name !== '' && printable(name) === name && !name.startsWith('-');

function about(text: string): string {
  const characters = [...printable(text.trim())];
  return characters.length <= MOST_ABOUT
    ? characters.join('')
    : `${characters.slice(0, MOST_ABOUT - 1).join('')}…`;
}

/** Processes by number when digits are there already, else by name. */
function processCandidates(typed: string, processes: readonly NamedProcess[]): Candidate[] {
  if (/^\d+$/.test(typed))
    return processes.map(({ pid, commandLine }) => ({ value: String(pid), about: about(commandLine) }));
  const byName = new Map<string, NamedProcess[]>();
  for (const process of processes) {
    for (const name of new Set(process.names)) {
      if (isPlain(name) && !/^\d+$/.test(name)) byName.set(name, [...(byName.get(name) ?? []), process]);
    }
  }
  return [...byName].map(([value, all]) => ({
    value,
    about:
      all.length === 1
        ? about(`${all[0]!.pid} ${all[0]!.commandLine}`)
        : `${all.length} processes: give the number of one`,
  }));
}

/** The last word of a filter or list, with what is before it. */
function categoryCandidates(typed: string): Candidate[] {
  const before = typed.replace(/\w*$/, '');
  return CATEGORIES.map(({ name }) => ({ value: before + name, about: 'category' }));
}

/** The names of a process's mappings, and of their owners where a pattern may match those. */
function mappingCandidates(
  target: string | undefined,
  processes: () => readonly NamedProcess[],
  withOwners: boolean,
): Candidate[] {
  if (target === undefined) return [];
  const pid = /^\d+$/.test(target)
    ? Number(target)
    : processes().find(({ names }) => names.includes(target))?.pid;
  if (pid === undefined) return [];
  try {
    using handle = new ProcessHandle(pid);
    const mappings = handle.mappings();
    const owners = withOwners ? findOwners(handle, mappings) : [];
    // Bare names: no pattern matches what a label adds to one.
    const found = new Map(mappings.map(({ name }) => [name || UNNAMED, 'mapping']));
    for (const owner of owners)
      if (owner !== undefined && !found.has(owner.name)) found.set(owner.name, 'owner');
    return [...found].filter(([value]) => isPlain(value)).map(([value, about]) => ({ value, about }));
  } catch {
    // Gone, or not ours to look into: there is nothing to offer.
    return [];
  }
}

/** What stands before the cursor, as far as it was understood. */
interface Parsed {
  readonly positionals: readonly string[];
  /** The option that waits for its value. */
  readonly open: Option | undefined;
}

function optionOf(command: Command, word: string): Option | undefined {
  const flag = word.replace(/=.*$/s, '');
  return command.options.find(({ long, short }) => flag === long || flag === short);
}

function parse(command: Command, words: readonly string[]): Parsed {
  const positionals: string[] = [];
  let open: Option | undefined;
  for (const word of words) {
    if (open !== undefined) open = undefined;
    else if (word.startsWith('-') && word !== '-') {
      const option = optionOf(command, word);
      if (option?.required && !word.includes('=')) open = option;
    } else positionals.push(word);
  }
  return { positionals, open };
}

function valueCandidates(
  option: Option,
  typed: string,
  target: string | undefined,
  processes: () => readonly NamedProcess[],
): Candidate[] {
  const long = option.long ?? '';
  if (option.argChoices)
    return option.argChoices.map((value) => ({ value, about: about(option.description) }));
  if (CATEGORY_OPTIONS.includes(long)) return categoryCandidates(typed);
  if (MAPPING_OPTIONS.includes(long)) return mappingCandidates(target, processes, long === '--mapping');
  return [];
}

function argumentCandidates(
  argument: Argument | undefined,
  typed: string,
  processes: () => readonly NamedProcess[],
): Candidate[] {
  if (argument === undefined) return [];
  if (argument.argChoices) return argument.argChoices.map((value) => ({ value, about: '' }));
  if (PROCESS_ARGUMENTS.includes(argument.name())) return processCandidates(typed, processes());
  // A file as likely as a process: files, until it begins as a number.
  return argument.name() === 'file|pid' && /^\d+$/.test(typed) ? processCandidates(typed, processes()) : [];
}

function fitting(program: Command, words: readonly string[], typed: string): Candidate[] {
  if (words.includes('--')) return [];
  let at = words.findIndex((word) => !word.startsWith('-'));
  let command = program.commands.find((each) => each.name() === words[at]);
  // A command may have commands of its own: `snap list`.
  const inner = command?.commands.find((each) => each.name() === words[at + 1]);
  if (inner !== undefined) {
    command = inner;
    at++;
  }
  const subject = command ?? program;
  const processes = () => otherProcesses();
  const { positionals, open } = command
    ? parse(command, words.slice(at + 1))
    : { positionals: [], open: undefined };
  if (open !== undefined) return valueCandidates(open, typed, positionals[0], processes);
  const assigned = /^(--[\w-]+=)(.*)$/s.exec(typed);
  if (assigned) {
    const option = optionOf(subject, typed);
    if (option === undefined) return [];
    return valueCandidates(option, assigned[2]!, positionals[0], processes).map(({ value, about }) => ({
      value: assigned[1] + value,
      about,
    }));
  }
  if (typed.startsWith('-')) {
    return [...subject.createHelp().visibleOptions(subject)].map(({ long, short, description }) => ({
      value: (long ?? short)!,
      about: about(description),
    }));
  }
  if (command === undefined) {
    if (at >= 0) return [];
    return program
      .createHelp()
      .visibleCommands(program)
      .map((each) => ({ value: each.name(), about: about(each.description()) }));
  }
  const parts = positionals.length === 0 ? command.createHelp().visibleCommands(command) : [];
  const inside = parts.filter((each) => each.name() !== 'help');
  const declared = command.registeredArguments;
  const last = declared.at(-1);
  const argument = declared[positionals.length] ?? (last?.variadic ? last : undefined);
  return [
    ...inside.map((each) => ({ value: each.name(), about: about(each.description()) })),
    ...argumentCandidates(argument, typed, processes),
  ];
}

/**
 * What fits at the end of a command line, in the order of the alphabet. None: a file may fit, the shell knows those.
 *
 * @param program with the command that the words name; with all of them where they name none yet
 * @param words those before the cursor, without `pmscan`; the last one is the one to complete, and may be empty
 */
export function complete(program: Command, words: readonly string[]): Candidate[] {
  const typed = words.at(-1) ?? '';
  return fitting(program, words.slice(0, -1), typed)
    .filter(({ value }) => value.startsWith(typed))
    .sort((a, b) => (a.value < b.value ? -1 : 1));
}

/** A word as the shell sees it: without its quotes. `open` is the quote that is not closed yet. */
export function unquote(raw: string): { word: string; open: '"' | "'" | undefined } {
  let word = '';
  let open: '"' | "'" | undefined;
  for (let index = 0; index < raw.length; index++) {
    const character = raw[index]!;
    if (open === undefined && (character === '"' || character === "'")) open = character;
    else if (character === open) open = undefined;
    else if (character === '\\' && open !== "'" && index + 1 < raw.length) word += raw[++index];
    else word += character;
  }
  return { word, open };
}

/** The words of a command line, quotes and all; the last one, which may be empty, ends at its end. */
export function splitLine(line: string): string[] {
  const words = [''];
  for (const [piece] of line.matchAll(/\\.|'[^']*'?|"(?:\\.|[^"\\])*"?|\s+|[^\s'"\\]+|\\/gs)) {
    if (/^\s/.test(piece)) words.push('');
    else words[words.length - 1] += piece;
  }
  return words[0] === '' && words.length > 1 ? words.slice(1) : words;
}

/** As bash takes it, inside of the quote that is open. */
function quote(text: string, open: '"' | "'" | undefined): string {
  if (open === "'") return text.replaceAll("'", "'\\''");
  // Not even a backslash keeps bash from taking a `!` there for a part of its history.
  if (open === '"') return text.replace(/[\\"$`]/g, '\\$&').replaceAll('!', `"'!'"`);
  return text.replace(/[^\w\-./:=@%+,]/gu, '\\$&');
}

/**
 * For bash, which replaces only a part of the word: what is behind the last of its word breaks, `=` and `:` among them.
 *
 * @param line up to the cursor
 * @param part what bash takes for the word at the cursor
 */
export function completeForBash(program: Command, line: string, part: string): string[] {
  const raw = splitLine(line);
  const last = raw.at(-1)!;
  const words = raw.slice(1).map((word) => unquote(word).word);
  const replaced = /^[=:]+$/.test(part) ? '' : part;
  const kept = last.endsWith(replaced) ? unquote(last.slice(0, last.length - replaced.length)).word : '';
  const { open } = unquote(last);
  return complete(program, words).map(({ value }) => quote(value.slice(kept.length), open));
}
