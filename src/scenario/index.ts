export type { ScenarioBackend } from './backend.js';
export * from './format.js';
export * from './run.js';
export { SimulatorBackend } from './simulator.js';
