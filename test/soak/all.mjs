// `npm run soak`: all soak programs, one after the other, with the counts that the project promises.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

for (const name of ['lost', 'kills', 'core', 'snap', 'harmless']) {
  console.log(`-- ${name}`);
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, `${name}.mjs`)], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}
