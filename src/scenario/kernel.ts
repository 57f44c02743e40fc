import { type ChildProcess, fork } from 'node:child_process';
import { requireSmallPages } from '../live/internal.js';
import { programArgument } from '../parts/index.js';
import type { ScenarioBackend } from './backend.js';
import type { Answer, Scenario } from './format.js';

/** How scenarios run on the kernel. */
export interface KernelBackendOptions {
  /** How many scenarios one child process runs, one after the other; 1 unless told otherwise. */
  readonly scenariosPerProcess?: number | undefined;
  /** When a scenario counts as hung, milliseconds; 20,000 unless told otherwise. */
  readonly timeoutMs?: number | undefined;
}

/**
 * A scenario that the kernel did not finish: the process hung or was lost.
 *
 * @example
 * ```ts
 * import { generateScenario, KernelBackend, KernelHangError } from 'pagemap-scan/scenario';
 * using backend = new KernelBackend({ timeoutMs: 1 }); // no process starts in a millisecond
 * try {
 *   await backend.run(generateScenario('anon', 7));
 * } catch (error) {
 *   console.assert(error instanceof KernelHangError && error.step === 0);
 * }
 * ```
 */
export class KernelHangError extends Error {
  override readonly name = 'KernelHangError';
  readonly code = 'ERR_KERNEL_HANG';
  /** Index of the operation that was running. */
  readonly step: number;

  constructor(scenario: string, step: number, how: string) {
    super(`Cannot finish ${scenario}: operation ${step} ${how}`);
    this.step = step;
  }
}

function isLost({ connected, exitCode, signalCode }: ChildProcess): boolean {
  return !connected || exitCode !== null || signalCode !== null;
}

/**
 * The running kernel as a backend. Each scenario runs in a new child process, which is watched for hangs. Dispose it
 * when done.
 *
 * Some kinds need free 2 MiB pages (`vm.nr_hugepages`) or swap: the caller sets them up.
 *
 * @example
 * ```ts
 * import { KernelBackend, parseScenarios } from 'pagemap-scan/scenario';
 * const [scenario] = parseScenarios(`{"scenario":1,"name":"a","arena":"0x600000000000","arena_pages":16}
 * {"op":"mmap","at":0,"pages":4,"type":"anon","sharing":"private","prot":"rw"}
 * {"op":"write","at":1,"pages":2,"step":1}`);
 * using backend = new KernelBackend();
 * const [mapped, written] = await backend.run(scenario!);
 * console.assert(mapped?.errno === undefined && written?.ok === 2 && written.fault === 0);
 * ```
 */
export class KernelBackend implements ScenarioBackend, Disposable {
  readonly name = 'kernel';
  readonly #perProcess: number;
  readonly #timeoutMs: number;
  #child: ChildProcess | undefined;
  #runs = 0;
  /** The end of the last run that was asked for. */
  #idle: Promise<unknown> = Promise.resolve();
  #disposed = false;

  constructor(options: KernelBackendOptions = {}) {
    this.#perProcess = options.scenariosPerProcess ?? 1;
    this.#timeoutMs = options.timeoutMs ?? 20_000;
  }

  /**
   * Runs a scenario after all earlier calls have ended: scenarios run one at a time. The time limit begins when this
   * one starts.
   *
   * @throws KernelHangError when the process hung or was lost, or the backend was disposed of meanwhile
   */
  run(scenario: Scenario): Promise<Answer[]> {
    const answers = this.#idle.then(() => this.#runNow(scenario));
    this.#idle = answers.catch(() => undefined);
    return answers;
  }

  #runNow(scenario: Scenario): Promise<Answer[]> {
    // No process is started that nobody would end.
    if (this.#disposed)
      throw new KernelHangError(scenario.name, 0, 'did not begin: the backend was disposed of');
    // A child may have been lost since the last run, too.
    if (this.#child === undefined || isLost(this.#child) || this.#runs >= this.#perProcess) this.#start();
    this.#runs++;
    const child = this.#child!;
    return new Promise((resolve, reject) => {
      let step = 0;
      const finish = (): void => {
        clearTimeout(timer);
        child.off('message', onMessage);
        child.off('exit', onExit);
      };
      const fail = (how: string): void => {
        finish();
        this.#stop();
        reject(new KernelHangError(scenario.name, step, how));
      };
      const onMessage = (message: { step?: number; answers?: Answer[] }): void => {
        if (message.step !== undefined) step = message.step;
        if (message.answers === undefined) return;
        finish();
        if (this.#runs >= this.#perProcess) this.#stop();
        resolve(message.answers);
      };
      const onExit = (code: number | null, signal: string | null): void =>
        fail(`ended the process (${signal ?? `exit code ${code}`})`);
      const timer = setTimeout(() => fail(`took more than ${this.#timeoutMs} ms`), this.#timeoutMs);
      child.on('message', onMessage);
      child.on('exit', onExit);
      // What cannot be sent reaches nobody: the process has ended, which `onExit` hears.
      child.send({ scenario, stream: this.#perProcess === 1 }, () => undefined);
    });
  }

  #start(): void {
    requireSmallPages('run scenarios on this kernel', 'the simulator runs them everywhere');
    this.#stop();
    this.#child = fork(programArgument('scenario/kernel-process'), {
      execArgv: [],
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    this.#runs = 0;
  }

  /** Ends the child that this backend started. */
  #stop(): void {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill('SIGKILL');
    // A child that is stuck in the kernel cannot be waited for.
    child.unref();
    child.channel?.unref();
  }

  /** Ends the child process; runs that have not finished are rejected. */
  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#stop();
  }
}
