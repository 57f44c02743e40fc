/**
 * Runs scenarios on the kernel in this very process; started by the kernel backend as a child. Takes scenarios as
 * messages and sends each answer as it comes, so that the parent knows where a process was lost.
 */
import type { Answer, Scenario } from './format.js';
import { KernelMemory } from './kernel-memory.js';

process.on('message', (message: { scenario: Scenario; stream: boolean }) => {
  const { scenario, stream } = message;
  const target = new KernelMemory(scenario);
  const answers: Answer[] = [];
  scenario.steps.forEach(({ op }, step) => {
    if (stream) process.send!({ step });
    answers.push(target.apply(op));
  });
  target[Symbol.dispose]();
  process.send!({ answers });
});
process.on('disconnect', () => process.exit(0));
