export type { ScenarioBackend } from './backend.js';
export { compareBackends, type Difference } from './differential.js';
export * from './format.js';
export { generateScenario, SCENARIO_KINDS, type ScenarioKind } from './generate.js';
export { KernelBackend, type KernelBackendOptions, KernelHang } from './kernel.js';
export * from './run.js';
export { shrinkScenario } from './shrink.js';
export { SimulatorBackend } from './simulator.js';
