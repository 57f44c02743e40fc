import { readFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { codeOf } from '../../abi/internal.js';
import { kernelCategories } from '../../live/index.js';
import {
  type Answer,
  compareBackends,
  differencesBetween,
  formatMismatch,
  formatScenario,
  KernelBackend,
  type MeasuredProfile,
  type Mismatch,
  measureProfile,
  mismatchesOf,
  parseScenarios,
  type Scenario,
  type ScenarioBackend,
  ScenarioError,
  SimulatorBackend,
} from '../../scenario/index.js';
import { KERNEL_PROFILES, type KernelProfile, type KernelProfileName, profileFor } from '../../sim/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { Output } from '../output.js';
import { writeTextFile } from '../output-file.js';
import { humanCount, plural, printable } from '../text.js';

export const RUN_SCHEMA = 'pagemap-scan/run@1';

/** The profile of the kernel at hand, which is measured. */
const HERE = 'here';
const PROFILES = [...(Object.keys(KERNEL_PROFILES) as KernelProfileName[]), HERE] as const;

export interface RunCommandOptions {
  readonly on: 'sim' | 'kernel';
  readonly profile?: KernelProfileName | typeof HERE | undefined;
  readonly check?: boolean | undefined;
  readonly shrink?: string | undefined;
  readonly json?: boolean | undefined;
}

function readScenarios(file: string): Scenario[] {
  let text: string;
  try {
    text = readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (cause) {
    const code = codeOf(cause);
    const why = code === 'ENOENT' ? 'there is no such file' : (code ?? String(cause));
    throw new CliError(EXIT.usage, `Cannot read ${printable(file)}: ${why}`, { cause });
  }
  try {
    return parseScenarios(text, file);
  } catch (cause) {
    if (cause instanceof ScenarioError) throw new CliError(EXIT.usage, cause.message, { cause });
    throw cause;
  }
}

/** Where scenarios run; the kernel's processes end with it. */
class Backends implements Disposable {
  readonly #options: RunCommandOptions;
  readonly #kernel: KernelBackend | undefined;
  readonly #measured: MeasuredProfile | undefined;

  static async open(options: RunCommandOptions): Promise<Backends> {
    const needsKernel = options.on === 'kernel' || options.shrink !== undefined || options.profile === HERE;
    if (needsKernel && kernelCategories() === 0) {
      throw new CliError(
        EXIT.unsupported,
        'Cannot run scenarios on this kernel: it has no PAGEMAP_SCAN, which Linux 6.7 brought; `--on sim` needs none',
      );
    }
    return new Backends(options, options.profile === HERE ? await measureProfile() : undefined);
  }

  private constructor(options: RunCommandOptions, measured: MeasuredProfile | undefined) {
    this.#options = options;
    this.#measured = measured;
    if (options.on === 'kernel' || options.shrink !== undefined) this.#kernel = new KernelBackend();
  }

  profile(scenario: Scenario): KernelProfile {
    if (this.#measured !== undefined) return this.#measured.profile;
    return KERNEL_PROFILES[(this.#options.profile as KernelProfileName) ?? profileFor(scenario.kernel)];
  }

  for(scenario: Scenario): ScenarioBackend {
    return this.#options.on === 'kernel' ? this.#kernel! : new SimulatorBackend(this.profile(scenario));
  }

  /** The shortest scenario on which the simulator and this kernel differ; undefined when they agree. */
  shortest(scenario: Scenario) {
    return compareBackends(scenario, this.profile(scenario), this.#kernel!);
  }

  [Symbol.dispose](): void {
    this.#kernel?.[Symbol.dispose]();
  }
}

async function shrink(backends: Backends, failing: Scenario, file: string): Promise<void> {
  const difference = await backends.shortest(failing);
  if (!difference?.repeats) {
    const found = difference ? 'did not differ again on' : 'agree on';
    process.stderr.write(
      `pmscan: nothing was written to ${printable(file)}: the simulator and this kernel ${found} ${printable(failing.name)}\n`,
    );
    return;
  }
  writeTextFile(file, formatScenario(difference.scenario, difference.answers), { replace: true });
  process.stderr.write(
    `pmscan: ${printable(file)}: ${plural(difference.scenario.steps.length, 'operation')} on which simulator and kernel differ\n`,
  );
}

/** Says on standard error in what this kernel is known to differ from the one that a scenario was recorded on. */
async function explain({ kernel }: Scenario): Promise<void> {
  if (kernel === undefined) return;
  const { profile } = await measureProfile();
  const differences = differencesBetween(profile, KERNEL_PROFILES[profileFor(kernel)]);
  const recorded = `it was recorded on Linux ${printable(kernel)}`;
  process.stderr.write(
    differences.length === 0
      ? `pmscan: ${recorded}; this kernel has none of the known differences from it\n`
      : `pmscan: ${recorded}; this kernel differs from it:\n${differences.map(({ says }) => `  - ${says}\n`).join('')}`,
  );
}

function mismatchDocument({ scenario, line, op, expected, got, pages }: Mismatch) {
  return { scenario, line, op, expected, got: got ?? null, pages };
}

/** The work of `pmscan run`. */
export async function runCommand(file: string, options: RunCommandOptions): Promise<ExitCode> {
  const scenarios = readScenarios(file);
  if (scenarios.length === 0)
    throw new CliError(EXIT.usage, `Cannot run ${printable(file)}: there is no scenario in it`);
  using backends = await Backends.open(options);
  using interrupt = new Interrupt();
  const output = new Output();
  const counts = { scenarios: 0, ops: 0, scans: 0, mismatches: 0 };
  let first: Mismatch | undefined;
  let failing: Scenario | undefined;
  let interrupted = false;
  const progress = process.stderr.isTTY === true && scenarios.length > 20;

  for (const scenario of scenarios) {
    const backend = backends.for(scenario);
    const answers: readonly Answer[] = await backend.run(scenario);
    counts.scenarios++;
    counts.ops += scenario.steps.length;
    counts.scans += scenario.steps.filter(({ op }) => op.op === 'scan').length;
    if (options.check) {
      const mismatches = mismatchesOf(scenario, answers);
      counts.mismatches += mismatches.length;
      if (first === undefined && mismatches.length > 0) {
        failing = scenario;
        first = { ...mismatches[0]!, pages: backend.describe?.(scenario, mismatches[0]!.step) ?? [] };
      }
    } else if (!options.json) {
      output.write(formatScenario(scenario, answers));
      await output.drain();
    }
    if (progress) process.stderr.write(`\r${counts.scenarios} of ${scenarios.length} scenarios`);
    interrupted = await interrupt.check();
    if (interrupted) break;
  }
  if (progress) process.stderr.write('\r\x1b[K');

  if (options.json) {
    const rest = first === undefined ? {} : { first: mismatchDocument(first) };
    output.line(JSON.stringify({ schema: RUN_SCHEMA, ...counts, ...rest }, null, 2));
  } else if (options.check) {
    if (first !== undefined)
      for (const line of formatMismatch(first).split('\n')) output.line(printable(line));
    output.line(
      `${plural(counts.scenarios, 'scenario')}, ${plural(counts.ops, 'operation')}, ${plural(counts.scans, 'scan')}: ` +
        `${counts.mismatches === 0 ? 'no' : humanCount(counts.mismatches)} mismatch${counts.mismatches === 1 ? '' : 'es'}`,
    );
  }
  await output.flush();
  if (failing !== undefined && options.on === 'kernel') await explain(failing);
  if (failing !== undefined && options.shrink !== undefined) await shrink(backends, failing, options.shrink);
  if (interrupted) return EXIT.interrupted;
  return counts.mismatches > 0 ? EXIT.failed : EXIT.done;
}

/** Adds `pmscan run` to the program. */
export function addRunCommand(program: Command, run: (work: () => Promise<ExitCode>) => Promise<void>): void {
  program
    .command('run')
    .description('run scenarios of memory operations on the simulator or on this kernel')
    .argument('<file>', 'scenario file (JSON Lines); - for standard input')
    .addOption(new Option('--on <backend>', 'where').choices(['sim', 'kernel']).default('sim'))
    .addOption(
      new Option(
        '--profile <release>',
        'the kernel that the simulator imitates; here: this one, measured; by default the one in the header',
      ).choices(PROFILES),
    )
    .option('--check', 'compare every answer with the one in the file; exit code 1 if one differs')
    .option('--shrink <out>', 'write the shortest scenario on which simulator and kernel differ, if any')
    .option('--json', 'one JSON document: counts, and the first mismatch')
    .addHelpText(
      'after',
      `
Without --check, prints the scenarios with the answers that were given: a recording.
On the kernel each scenario runs in a process of its own. Only run files that you trust there: they are system calls, and
some sequences hang some kernels.

Examples:
  pmscan run test.jsonl --check
  pmscan run test.jsonl --on kernel --check --json
  pmscan run test.jsonl --profile here --check
  pmscan run draft.jsonl --on kernel > recorded.jsonl`,
    )
    .action((file: string, _options: RunCommandOptions, command: Command) =>
      run(() => runCommand(file, command.optsWithGlobals())),
    );
}
