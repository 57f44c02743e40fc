// Does the memory operations of scenarios that its parent sends, to its own memory: { scenario } begins one, { ops } are done,
// { end } unmaps all. Each message is answered.
import { KernelMemory } from '../../dist/scenario/kernel-memory.js';

let memory;
process.on('message', ({ scenario, ops, end }) => {
  if (scenario !== undefined) memory = new KernelMemory(scenario);
  for (const op of ops ?? []) memory.apply(op);
  if (end) memory[Symbol.dispose]();
  process.send('done');
});
process.on('disconnect', () => process.exit(0));
