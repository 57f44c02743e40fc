// Seizes process PID, as a debugger would, until its input ends.  node seize.mjs PID
import { TracedThread, tracedArchitecture } from '../../dist/live/ptrace.js';

new TracedThread(Number(process.argv[2]), tracedArchitecture()).seize(0);
console.log('seized');
process.stdin.resume().on('end', () => process.exit());
