/** What the other layers use besides what is public. */
export { FACT_NEEDS } from './facts.js';
export { ADVICE_NAMES, FEATURE_NAMES, REGISTER_MODES } from './format.js';
export { scenarioKinds } from './generate.js';
export * from './index.js';
export { sameAnswer } from './run.js';
export { SimulatedProcess } from './simulator.js';
