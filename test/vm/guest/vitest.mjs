// Stands in for vitest in a guest, where the real one would take longer to start than the tests take to run: the same
// `expect`, and as much of the rest as the tests there use. `run-tests.mjs` starts it and reports on descriptor 3.
import { format } from 'node:util';
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  GLOBAL_EXPECT,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from '@vitest/expect';
import * as chai from 'chai';

const TIMEOUT_MS = 120_000;

// --- expect -----------------------------------------------------------------------------------------------------

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(JestAsymmetricMatchers);

export const expect = (value, message) => chai.expect(value, message);
Object.assign(expect, chai.expect, globalThis[ASYMMETRIC_MATCHERS_OBJECT]);
globalThis[GLOBAL_EXPECT] = expect;
setState({ assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null }, expect);

// --- what is to run ---------------------------------------------------------------------------------------------

const makeGroup = (name, parent) => ({
  name,
  parent,
  entries: [],
  beforeAll: [],
  afterAll: [],
  beforeEach: [],
  afterEach: [],
});
const root = makeGroup('', undefined);
let current = root;

/** `%s` and `$name` in the names of tests over a table. */
function title(name, values) {
  const named = name.replace(/\$(\w+)/g, (whole, key) =>
    values[0] !== null && typeof values[0] === 'object' && key in values[0] ? String(values[0][key]) : whole,
  );
  const places = named.match(/%[sdifjoO]/g)?.length ?? 0;
  return format(named, ...values.slice(0, places));
}

function addTest(name, first, second, skipped) {
  const work = typeof first === 'function' ? first : second;
  const options = typeof first === 'function' ? second : first;
  const timeoutMs = typeof options === 'number' ? options : (options?.timeout ?? TIMEOUT_MS);
  // The guest's processor is an emulated one.
  current.entries.push({ name, work, skipped, timeoutMs: Math.max(timeoutMs, TIMEOUT_MS) });
}

function addGroup(name, work, skipped) {
  if (skipped) return;
  const group = makeGroup(name, current);
  current.entries.push(group);
  const outer = current;
  current = group;
  const result = work();
  if (result instanceof Promise)
    throw new Error(`The group "${name}" is asynchronous, which is not supported here`);
  current = outer;
}

function variants(add) {
  const make = (skipped) => {
    const api = (name, ...rest) => add(name, rest, skipped);
    api.each =
      (table) =>
      (name, work, ...rest) => {
        for (const row of table) {
          const values = Array.isArray(row) ? row : [row];
          add(title(name, values), [() => work(...values), ...rest], skipped);
        }
      };
    return api;
  };
  const api = make(false);
  api.skip = make(true);
  api.skipIf = (condition) => (condition ? api.skip : api);
  api.runIf = (condition) => (condition ? api : api.skip);
  return api;
}

export const test = variants((name, [first, second], skipped) => addTest(name, first, second, skipped));
export const it = test;
export const describe = variants((name, [work], skipped) => addGroup(name, work, skipped));
// Here one test follows the other.
describe.concurrent = describe;
export const beforeAll = (work) => void current.beforeAll.push(work);
export const afterAll = (work) => void current.afterAll.unshift(work);
export const beforeEach = (work) => void current.beforeEach.push(work);
export const afterEach = (work) => void current.afterEach.unshift(work);

/** Of the environment, what a test has replaced: names and values, the first one last. */
const replaced = [];
export const vi = {
  stubEnv(name, value) {
    replaced.unshift([name, process.env[name]]);
    process.env[name] = value;
  },
  unstubAllEnvs() {
    for (const [name, value] of replaced.splice(0)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  },
};

// --- running ----------------------------------------------------------------------------------------------------

class Skipped extends Error {}

async function within(timeoutMs, work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`It took longer than ${timeoutMs / 1000} s`)), timeoutMs);
  });
  try {
    await Promise.race([work(), late]);
  } finally {
    clearTimeout(timer);
  }
}

function outwards(group) {
  return group === undefined ? [] : [group, ...outwards(group.parent)];
}

async function runTest(entry, group) {
  const groups = outwards(group);
  const context = {
    skip: (condition = true, why = '') => {
      if (condition) throw new Skipped(why);
    },
  };
  await within(entry.timeoutMs, async () => {
    try {
      for (const { beforeEach: hooks } of groups.toReversed()) for (const hook of hooks) await hook(context);
      await entry.work(context);
    } finally {
      for (const { afterEach: hooks } of groups) for (const hook of hooks) await hook(context);
    }
  });
}

function message(error) {
  return String(error?.stack ?? error).slice(0, 4000);
}

async function runGroup(group, path, wanted, report) {
  const fail = (name, error) =>
    report({ test: [...path, name].join(' > '), result: 'failed', message: message(error) });
  try {
    for (const hook of group.beforeAll) await hook();
    for (const entry of group.entries) {
      if (entry.entries !== undefined) {
        await runGroup(entry, [...path, entry.name], wanted, report);
        continue;
      }
      const name = [...path, entry.name].join(' > ');
      if (wanted !== undefined && !wanted.test(name)) continue;
      if (entry.skipped) {
        report({ test: name, result: 'skipped' });
        continue;
      }
      const started = performance.now();
      try {
        await runTest(entry, group);
        report({ test: name, result: 'passed', ms: Math.round(performance.now() - started) });
      } catch (error) {
        if (error instanceof Skipped) report({ test: name, result: 'skipped', message: error.message });
        else fail(entry.name, error);
      }
    }
  } catch (error) {
    fail('before its tests', error);
  }
  for (const hook of group.afterAll) {
    try {
      await hook();
    } catch (error) {
      fail('after its tests', error);
    }
  }
}

/** Runs what the imported file has declared; `wanted` chooses by name. */
export async function runTests(wanted, report) {
  await runGroup(root, [], wanted, report);
}
