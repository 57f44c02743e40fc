export type { ScenarioBackend } from './backend.js';
export * from './format.js';
export { KernelBackend, type KernelBackendOptions, KernelHang } from './kernel.js';
export * from './run.js';
export { SimulatorBackend } from './simulator.js';
