export type { ScenarioBackend } from './backend.js';
export { compareBackends, type Difference } from './differential.js';
export { type FactNeed, KERNEL_FACTS, type KernelFact, type ProfileProperty } from './facts.js';
export {
  type AccessOp,
  type AdviceName,
  type Answer,
  type ClearRefsOp,
  type CloseOp,
  type FeatureName,
  type FileOp,
  formatScenario,
  type MadviseOp,
  type MmapOp,
  type MprotectOp,
  type MremapOp,
  type MunmapOp,
  type Op,
  type Protection,
  parseScenarios,
  type RegisterMode,
  type RegisterOp,
  type RwprotectOp,
  type ScanOp,
  type Scenario,
  ScenarioError,
  type Step,
  type U64,
  type UffdOp,
  type UnregisterOp,
  type WriteprotectOp,
} from './format.js';
export { generateScenario, SCENARIO_KINDS, type ScenarioKind } from './generate.js';
export { KernelBackend, type KernelBackendOptions, KernelHangError } from './kernel.js';
export {
  differencesBetween,
  type MeasuredProfile,
  type MeasureOptions,
  measureProfile,
  type ProfileDifference,
  type UnaskedProperty,
  type UnexplainedAnswer,
} from './measure.js';
export {
  formatMismatch,
  type Mismatch,
  mismatchesOf,
  type RunOptions,
  type RunSummary,
  runScenarios,
} from './run.js';
export { shrinkScenario } from './shrink.js';
export { SimulatorBackend } from './simulator.js';
