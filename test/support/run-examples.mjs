/**
 * Runs modules one after the other in this process, and tells of each, a line of JSON on descriptor 3: what it wrote to standard error,
 * what it failed with, and what it left that keeps a process running. Arguments: the modules' paths.
 */
import { writeSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

/** How long what is being closed may take: a process that ends, for instance. */
const GRACE_MS = 10_000;

let errors = '';
process.stderr.write = (text) => {
  errors += text;
  return true;
};
process.on('uncaughtException', (error) => {
  errors += `${error?.stack ?? error}\n`;
});

/** Kinds of what keeps this process running, but for its own descriptors. */
const active = () =>
  process.getActiveResourcesInfo().filter((kind) => !/^(PipeWrap|TTYWrap|Immediate)$/.test(kind));

async function whatIsLeft(before) {
  for (const until = performance.now() + GRACE_MS; ; await setTimeout(5)) {
    const left = active();
    for (const kind of before) if (left.includes(kind)) left.splice(left.indexOf(kind), 1);
    if (left.length === 0 || performance.now() > until) return left;
  }
}

const environment = { ...process.env };

for (const module of process.argv.slice(2)) {
  errors = '';
  const before = active();
  try {
    await import(pathToFileURL(module).href);
  } catch (error) {
    errors += `${error?.stack ?? error}\n`;
  }
  const left = await whatIsLeft(before);
  writeSync(3, `${JSON.stringify({ module, errors, left, exitCode: process.exitCode ?? 0 })}\n`);
  process.exitCode = 0;
  for (const name of Object.keys(process.env)) if (!(name in environment)) delete process.env[name];
  Object.assign(process.env, environment);
}
// Nor does what was left, and told, keep this one.
process.exit();
