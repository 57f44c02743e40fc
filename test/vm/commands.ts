/** The command on a kernel that may be too old for it: it works, or says which kernel it takes, with exit code 5. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { finish, MAIN } from '../support/cli.js';

const SCENARIO = join(import.meta.dirname, '../traces/6.12/anon.jsonl');

const target = spawn('sleep', ['1000']);
afterAll(() => void target.kill('SIGKILL'));

const briefly = ['--interval', '100ms', '--duration', '300ms'];

test.each<[string, string[], string]>([
  ['scan', ['scan', String(target.pid), '--json'], 'pagemap-scan/scan@1'],
  ['maps', ['maps', String(target.pid), '--json'], 'pagemap-scan/maps@1'],
  ['watch', ['watch', String(target.pid), ...briefly, '--json'], 'pagemap-scan/watch@1'],
  ['watch -- CMD', ['watch', ...briefly, '--json', '--', 'sleep', '1000'], 'pagemap-scan/watch@1'],
  ['run', ['run', SCENARIO, '--on', 'kernel', '--json'], 'pagemap-scan/run@1'],
])('%s', async (_, args, schema) => {
  const { code, stdout, stderr } = await finish(spawn(process.execPath, [MAIN, ...args]));
  if (code === 0) {
    expect(stdout).toContain(`"${schema}"`);
    return;
  }
  expect({ code, stdout }).toEqual({ code: 5, stdout: '' });
  expect(stderr).toMatch(/^pmscan: Cannot .*Linux 6\.7/);
  expect(stderr).not.toContain('    at ');
});

test('run on the simulator, and doctor, work everywhere', async () => {
  const simulated = await finish(spawn(process.execPath, [MAIN, 'run', SCENARIO, '--check', '--json']));
  expect({ code: simulated.code, stderr: simulated.stderr }).toEqual({ code: 0, stderr: '' });
  expect(JSON.parse(simulated.stdout).mismatches).toBe(0);
  const doctor = await finish(spawn(process.execPath, [MAIN, 'doctor']));
  expect({ code: doctor.code, stderr: doctor.stderr }).toEqual({ code: 0, stderr: '' });
  expect(doctor.stdout).toContain('What can be done here');
});
