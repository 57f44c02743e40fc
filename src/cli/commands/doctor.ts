import { readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import type { Command } from 'commander';
import { codeOf, errnoNumber, PagemapError } from '../../abi/internal.js';
import {
  type Answer,
  type Capability,
  chooseProvider,
  DISABLE_VARIABLE,
  hugePageSize,
  ioctlDisabled,
  mayReadAll,
  mayTraceAll,
  PROVIDER_VARIABLE,
  type Provider,
  pageSize,
  probeCapabilities,
} from '../../live/internal.js';
import { type MeasuredProfile, measureProfile } from '../../scenario/index.js';
import { measureFaultCost } from '../../track/index.js';
import { wrapText } from '../columns.js';
import { EXIT, type ExitCode } from '../exit.js';
import { Output } from '../output.js';
import { humanBytes, outputStyle, printable, type Style } from '../text.js';
import { version } from '../version.js';
import { shortTime } from '../watch/cost.js';

export const DOCTOR_SCHEMA = 'pagemap-scan/doctor@1';

/** Facts that explain the answers: settings of the system, each as the system shows it. */
const SETTINGS: readonly { readonly name: string; readonly path: string }[] = [
  { name: 'transparent huge pages', path: '/sys/kernel/mm/transparent_hugepage/enabled' },
  { name: 'vm.nr_hugepages', path: '/proc/sys/vm/nr_hugepages' },
  { name: 'vm.unprivileged_userfaultfd', path: '/proc/sys/vm/unprivileged_userfaultfd' },
  { name: 'kernel.yama.ptrace_scope', path: '/proc/sys/kernel/yama/ptrace_scope' },
  { name: 'security modules', path: '/sys/kernel/security/lsm' },
];

function setting(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? 'not there' : 'not readable';
  }
}

function statusField(name: string): string {
  return new RegExp(`^${name}:\\s*(.*)$`, 'm').exec(setting('/proc/self/status'))?.[1] ?? 'not shown';
}

function swapDevices(): string {
  const lines = setting('/proc/swaps').split('\n').slice(1);
  return lines.length === 0 ? 'none' : lines.map((line) => line.split(/\s+/)[0]).join(', ');
}

function facts(): Record<string, string> {
  const list: Record<string, string> = {
    'pagemap-scan': version,
    node: `${process.version} (${arch()})`,
    kernel: `${process.platform} ${release()}`,
  };
  if (process.platform !== 'linux') return list;
  list['user'] = `uid ${process.geteuid?.() ?? '?'}, effective capabilities ${statusField('CapEff')}`;
  list['seccomp'] = { 0: 'none', 1: 'strict', 2: 'filter' }[statusField('Seccomp')] ?? 'not shown';
  const sizes = pageSizes();
  if (sizes !== undefined) list['pages'] = sizes;
  list['swap'] = swapDevices();
  for (const { name, path } of SETTINGS) list[name] = setting(path);
  const faultUs = faultCost();
  if (faultUs !== undefined)
    list['first write to a protected page'] =
      `${shortTime(faultUs / 1000)}${faultUs < DEAR_US ? '' : ': page faults are expensive on this machine'}`;
  if (ioctlDisabled())
    list[DISABLE_VARIABLE] = `${process.env[DISABLE_VARIABLE]} (the ioctl is switched off)`;
  if (process.env[PROVIDER_VARIABLE]) list[PROVIDER_VARIABLE] = process.env[PROVIDER_VARIABLE];
  return list;
}

function pageSizes(): string | undefined {
  try {
    return `${humanBytes(pageSize())}, huge ones ${humanBytes(hugePageSize())}`;
  } catch {
    // No native module, or a size that nobody knows: that is told below.
    return undefined;
  }
}

/** A page fault that takes longer than this, microseconds, is dear: on hardware of its own it takes about one. */
const DEAR_US = 5;

function faultCost(): number | undefined {
  try {
    return measureFaultCost();
  } catch {
    // No native module: that is told below.
    return undefined;
  }
}

/** Who would answer the other commands. */
function usedProvider(): Provider {
  try {
    return chooseProvider();
  } catch {
    // No Linux, or no native module: nobody would.
    return 'ioctl';
  }
}

/** How this kernel answers, or why that could not be measured; undefined where it has no PAGEMAP_SCAN. */
async function profileHere(
  capabilities: readonly Capability[],
): Promise<MeasuredProfile | string | undefined> {
  const scan = capabilities.find(({ id }) => id === 'pagemap-scan');
  if (scan?.answer !== 'yes' || usedProvider() !== 'ioctl') return undefined;
  try {
    return await measureProfile();
  } catch (error) {
    return (error as Error).message;
  }
}

/** Lines on how this kernel answers. */
function profileLines(measured: MeasuredProfile | string): string[] {
  if (typeof measured === 'string') return [measured];
  const { nearest, differences, unasked, unexplained } = measured;
  const lines = [`as Linux ${nearest} does${differences.length === 0 ? '' : ', but:'}`];
  for (const { says } of differences) lines.push(`  ${says}`);
  const lacks = new Set(unasked.filter(({ lacking }) => lacking.length > 0).map(({ why }) => why));
  for (const why of lacks) lines.push(`not all could be asked: ${why}`);
  for (const { scenario } of unexplained) {
    lines.push('an answer that no known kernel gives; please report it with these lines:');
    for (const line of scenario.trimEnd().split('\n')) lines.push(`  ${line}`);
  }
  return lines;
}

/**
 * What the answers mean for the things that people want to do.
 *
 * @param mayAll whether this user may look at other users' processes, as far as that is known
 */
export function verdicts(
  capabilities: readonly Pick<Capability, 'id' | 'answer'>[],
  provider: Provider,
  mayAll: boolean,
): { what: string; answer: Answer }[] {
  const answer = (...ids: string[]): Answer => {
    const answers = ids.map(
      (id) => capabilities.find((capability) => capability.id === id)?.answer ?? 'unknown',
    );
    return answers.includes('no') ? 'no' : answers.includes('unknown') ? 'unknown' : 'yes';
  };
  const either = (one: Answer, other: Answer): Answer =>
    one === 'yes' || other === 'yes' ? 'yes' : one === 'no' && other === 'no' ? 'no' : 'unknown';
  const byIoctl = (...ids: string[]): Answer =>
    provider === 'ioctl' ? answer('pagemap-scan', ...ids) : 'no';
  const without = (...ids: string[]): Answer => (provider === 'fallback' ? answer(...ids) : 'no');
  const how = provider === 'ioctl' ? '' : '; without PAGEMAP_SCAN, so not all categories';
  const stops = provider === 'ioctl' ? '' : '; by soft-dirty bits: it is stopped at each look';
  // Yama and the like are asked for by themselves; whose processes these are is known here.
  const own = mayAll ? '' : "; this user's own only";
  // core and snap cannot go by soft-dirty bits.
  const others = provider === 'ioctl' ? 'record, report, serve, core, snap' : 'record, report, serve';
  const accesses = byIoctl('category-accessed', 'userfaultfd', 'ptrace', 'ptrace-others', 'pidfd-getfd');
  return [
    {
      what: `scan and maps of processes (pmscan scan, pmscan maps)${how}${own}`,
      answer: either(byIoctl(), without('fallback')),
    },
    { what: 'tracking writes to own memory', answer: byIoctl('userfaultfd', 'wp-async') },
    {
      what: `tracking writes of commands that it starts (pmscan watch -- CMD)${stops}`,
      answer: either(
        byIoctl('userfaultfd', 'wp-async', 'ptrace', 'pidfd-getfd'),
        without('soft-dirty', 'ptrace'),
      ),
    },
    {
      what: `tracking writes of other processes (pmscan ${others}, pmscan watch)${stops}${own}`,
      answer: either(
        byIoctl('userfaultfd', 'wp-async', 'ptrace', 'ptrace-others', 'pidfd-getfd'),
        without('soft-dirty', 'ptrace', 'ptrace-others'),
      ),
    },
    {
      what: `tracking accesses of other processes (pmscan watch --accesses)${own}`,
      answer: accesses,
    },
    {
      what:
        accesses === 'yes'
          ? `working sets of other processes (pmscan wss)${own}`
          : `working sets of other processes (pmscan wss); by mapping only, and it resets what the kernel's reclaim knows of them${own}`,
      answer: either(accesses, answer('ptrace-others')),
    },
  ];
}

function mark(answer: Answer, { colors, unicode }: Style): string {
  if (answer === 'yes') return colors.green(unicode ? '✔' : 'yes');
  return answer === 'no' ? colors.red(unicode ? '✘' : 'no ') : colors.yellow(unicode ? '?' : '?  ');
}

interface Findings {
  readonly system: Readonly<Record<string, string>>;
  readonly conclusions: readonly { what: string; answer: Answer }[];
  readonly profile: MeasuredProfile | string | undefined;
  readonly capabilities: readonly Capability[];
}

/** All of it, for people. */
export function doctorLines(
  { system, conclusions, profile, capabilities }: Findings,
  style: Style,
): string[] {
  const { colors, columns } = style;
  const width = Math.max(...Object.keys(system).map((name) => name.length));
  const wrapped = (text: string, indent: number) => wrapText(text, columns, ' '.repeat(indent));
  const lines = Object.entries(system).flatMap(([name, value]) =>
    // The gaps in front are no places to break.
    wrapText(`${' '.repeat(width + 2)}${printable(value)}`, columns, ' '.repeat(width + 2)).map(
      (line, index) => (index === 0 ? `${colors.dim(name.padEnd(width))}${line.slice(width)}` : line),
    ),
  );
  lines.push('', colors.bold('What can be done here'));
  for (const { what, answer } of conclusions) lines.push(...wrapped(`  ${mark(answer, style)} ${what}`, 4));
  lines.push('');
  if (profile !== undefined) {
    lines.push(colors.bold('How this kernel answers'));
    // Scenarios among them are to be copied as they are.
    for (const line of profileLines(profile)) lines.push(`  ${printable(line)}`);
    lines.push('');
  }
  lines.push(colors.bold('How it was found out'));
  for (const { title, answer, how, advice } of capabilities) {
    lines.push(...wrapped(`  ${mark(answer, style)} ${title}: ${colors.dim(printable(how))}`, 6));
    if (answer !== 'yes' && advice !== undefined) lines.push(...wrapped(`      ${printable(advice)}`, 6));
  }
  return lines;
}

/** The work of `pmscan doctor`. */
export async function doctorCommand(options: { json?: boolean; color?: boolean }): Promise<ExitCode> {
  let capabilities: Capability[];
  try {
    capabilities = await probeCapabilities();
  } catch (error) {
    if (!(error instanceof PagemapError) || error.errno !== errnoNumber('ENOSYS')) throw error;
    const how = error.message;
    capabilities = [{ id: 'pagemap-scan', title: 'the PAGEMAP_SCAN ioctl', answer: 'no', how }];
  }
  const profile = await profileHere(capabilities);
  const system = facts();
  const conclusions = verdicts(capabilities, usedProvider(), mayTraceAll() && mayReadAll());
  const output = new Output();
  if (options.json) {
    output.line(
      JSON.stringify({ schema: DOCTOR_SCHEMA, system, conclusions, profile, capabilities }, null, 2),
    );
  } else {
    const style = outputStyle(options.color !== false);
    for (const line of doctorLines({ system, conclusions, profile, capabilities }, style)) output.line(line);
  }
  await output.flush();
  return EXIT.done;
}

/** Adds `pmscan doctor` to the program. */
export function addDoctorCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  program
    .command('doctor')
    .description('say what this kernel and this user can do, how that was found out, and what to do about it')
    .option('--json', 'one JSON document')
    .addHelpText(
      'after',
      `
Everything is found out by trying it, in this process and a child of its own; nothing is left behind.
Paste its output into a bug report.

Examples:
  pmscan doctor
  sudo -u postgres pmscan doctor
  pmscan doctor --json | jq '.capabilities[] | select(.answer != "yes")'`,
    )
    .action((_options: unknown, command: Command) => run(() => doctorCommand(command.optsWithGlobals())));
}
