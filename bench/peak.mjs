// Preloaded into a measured command: tells its peak memory (KiB) on descriptor 3 when it ends. Not by getrusage, whose
// maximum a new process inherits from the one that started it.
import { readFileSync, writeSync } from 'node:fs';

process.on('exit', () => {
  const status = readFileSync('/proc/self/status', 'utf8');
  writeSync(3, /^VmHWM:\s*(\d+)/m.exec(status)[1]);
});
