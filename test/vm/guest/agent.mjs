// Runs in the guest: does the jobs of /jobs.json one after the other and reports each, as JSON lines, through a port to
// the host. A job is a command line; `setup` is a line of shell that root runs before it.
import { spawn, spawnSync } from 'node:child_process';
import { openSync, readFileSync, writeSync } from 'node:fs';

/** For ending when killed. */
const STUCK_MS = 20_000;

const port = openSync(process.argv[2], 'w');

function report(message) {
  const bytes = Buffer.from(`${JSON.stringify(message)}\n`);
  for (let done = 0; done < bytes.length; ) done += writeSync(port, bytes, done);
}

function runJob(job) {
  return new Promise((resolve) => {
    const [program, ...args] = job.argv;
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      cwd: job.cwd ?? '/pagemap-scan',
      env: { ...process.env, ...job.env },
      detached: true,
      ...(job.uid === undefined ? {} : { uid: job.uid, gid: job.uid }),
    });
    let partial = '';
    // What the tests' reporter (guest/vitest.mjs) says on its third descriptor.
    child.stdio[3].setEncoding('utf8').on('data', (text) => {
      const lines = (partial + text).split('\n');
      partial = lines.pop();
      for (const line of lines) report({ job: job.name, ...JSON.parse(line) });
    });
    child.stdout.setEncoding('utf8').on('data', (text) => report({ job: job.name, stdout: text }));
    child.stderr.setEncoding('utf8').on('data', (text) => report({ job: job.name, stderr: text }));
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has just ended.
      }
      // One that the kernel holds does not end by being killed.
      setTimeout(() => resolve({ code: null, signal: 'SIGKILL', timedOut, stuck: true }), STUCK_MS).unref();
    }, job.timeoutMs ?? 120_000);
    child.on('error', (error) => report({ job: job.name, stderr: `${error.message}\n` }));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, timedOut, stuck: false });
    });
  });
}

report({
  ready: readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim(),
  uptime: readFileSync('/proc/uptime', 'utf8'),
});
for (const job of JSON.parse(readFileSync('/jobs.json', 'utf8'))) {
  report({ job: job.name, begin: true });
  const started = performance.now();
  if (job.setup !== undefined) {
    const { status, stderr } = spawnSync('sh', ['-e', '-c', job.setup], { encoding: 'utf8' });
    if (status !== 0) {
      report({ job: job.name, stderr: `setup failed: ${stderr}\n` });
      report({ job: job.name, end: { code: 1, signal: null, timedOut: false, stuck: false, ms: 0 } });
      continue;
    }
  }
  const outcome = await runJob(job);
  report({ job: job.name, end: { ...outcome, ms: Math.round(performance.now() - started) } });
}
report({ done: true });
process.exit(0);
