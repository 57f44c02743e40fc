import { readFileSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { kernelCategories } from '../../live/index.js';
import {
  type Answer,
  compareBackends,
  formatMismatch,
  formatScenario,
  KernelBackend,
  type Mismatch,
  mismatchesOf,
  parseScenarios,
  type RunSummary,
  runScenarios,
  type Scenario,
  type ScenarioBackend,
  ScenarioError,
  SimulatorBackend,
  shrinkScenario,
} from '../../scenario/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Interrupt } from '../interrupt.js';
import { Output } from '../output.js';
import { plural, printable } from '../text.js';

export const RUN_SCHEMA = 'pagemap-scan/run@1';

const PROFILES = ['6.7', '6.12', '6.18'] as const;

export interface RunCommandOptions {
  readonly on: 'sim' | 'kernel';
  readonly profile?: (typeof PROFILES)[number];
  readonly check?: boolean;
  readonly shrink?: string;
  readonly json?: boolean;
}

void [compareBackends, formatMismatch, formatScenario, mismatchesOf, shrinkScenario];
void (null as unknown as [Answer, Mismatch, RunSummary, Scenario, ScenarioBackend]);
void [
  readFileSync,
  writeFileSync,
  Option,
  kernelCategories,
  KernelBackend,
  parseScenarios,
  runScenarios,
  ScenarioError,
  SimulatorBackend,
  CliError,
  EXIT,
  Interrupt,
  Output,
  plural,
  printable,
];
export function addRunCommand(
  _program: Command,
  _run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {}
