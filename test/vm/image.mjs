// The first file system of a virtual machine, as one archive: Node, the packed package with its dependencies, the tests
// compiled to JavaScript, and busybox for the rest.
import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { CpioWriter } from './cpio.mjs';
import { findBusybox, userlandOf } from './userland.mjs';

const ROOT = join(import.meta.dirname, '../..');
/** Where it all is in the guest; `src` there is the packed package's `dist`. */
export const GUEST_ROOT = '/pagemap-scan';

/** What busybox does not have, or cannot do as much. */
const OWN_TOOLS = ['setpriv', 'unshare', 'nice'];

function run(program, args, options = {}) {
  return execFileSync(program, args, {
    encoding: 'utf8',
    cwd: ROOT,
    env: { ...process.env, npm_config_loglevel: 'error' },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
}

/** What is to run: the package as users get it, and the tests as JavaScript. */
function build(folder) {
  const [packed] = Object.values(
    JSON.parse(run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder])),
  );
  run('tar', ['-xzf', join(folder, packed.filename), '-C', folder]);
  // In the package, this is in the bundle of the command alone; tests look at it by itself.
  const web = join(ROOT, 'dist/web');
  for (const name of readdirSync(web).filter((each) => each.endsWith('.js')))
    copyFileSync(join(web, name), join(folder, 'package/dist/web', name));
  run(process.execPath, [
    'node_modules/typescript/bin/tsc',
    '-p',
    'test/vm/tsconfig.json',
    '--outDir',
    join(folder, 'js'),
  ]);
}

/** C programs for the guest, which has no compiler. */
function nativePrograms(folder, [compiler, ...flags]) {
  mkdirSync(folder);
  const headers = process.env.PMSCAN_KERNEL_HEADERS;
  const include = headers === undefined ? [] : ['-isystem', headers];
  const sources = join(ROOT, 'test/native');
  for (const file of readdirSync(sources)) {
    const name = file.replace(/\.c$/, '');
    try {
      run(compiler, [...flags, '-O2', '-w', ...include, '-o', join(folder, name), join(sources, file)], {
        stdio: ['ignore', 'ignore', 'ignore'],
      });
    } catch {
      // It wants flags, or headers, of its own (test/support/native.ts): its tests are not for here.
    }
  }
}

/** The installed packages that the package needs to run: their paths in node_modules. */
function productionPackages() {
  const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && !dev && existsSync(join(ROOT, path)))
    .map(([path]) => path);
}

/** Where a package is in the guest: one with binaries of another architecture stands in for this machine's, under its own name. */
function guestName(path, source) {
  if (source === join(ROOT, path)) return path;
  return `node_modules/${JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')).name}`;
}

/** What the `expect` of the tests needs. */
const EXPECT = [
  '@vitest/expect',
  '@vitest/utils',
  '@vitest/spy',
  '@vitest/pretty-format',
  'tinyrainbow',
  'chai',
  '@standard-schema/spec',
];

/** Makes, in `folder`, the parts that all machines share; `imageFor` adds what those of an architecture do. */
export function prepareImage(folder) {
  if (!existsSync(join(ROOT, 'dist/cli/main.js'))) {
    throw new Error('Cannot pack what is not built: npm run build');
  }
  build(folder);
  return { folder };
}

/** The parts that machines of an architecture share; `writeImage` puts them together. */
export function imageFor(architecture, { folder, ...more }) {
  const userland = userlandOf(architecture);
  const native = join(folder, `native-${architecture}`);
  nativePrograms(native, userland.cc);
  return { ...more, folder, native, userland };
}

/**
 * Writes the archive for one machine.
 *
 * @param parts what `imageFor` gave, and `with`: programs and folders of this machine besides
 * @param jobs what the guest runs, for `guest/agent.mjs`
 */
export function writeImage(path, { folder: built, native, userland, with: more = [] }, kernel, settings) {
  const archive = new CpioWriter(path);
  const withLibraries = (source, target) => {
    archive.copy(realpathSync(source), target);
    for (const library of userland.libraries(source)) {
      if (!archive.has(library.target)) archive.copy(realpathSync(library.source), library.target);
    }
  };
  for (const folder of ['/proc', '/sys', '/dev', '/root', '/run']) archive.directory(folder);
  archive.directory('/tmp', 0o1777);
  archive.directory('/var');
  archive.directory('/var/tmp', 0o1777);
  archive.copy(join(import.meta.dirname, 'guest/init.sh'), '/init');
  archive.copy(userland.busybox, '/bin/busybox');
  // One that this machine can run tells the names of what is in either.
  for (const name of run(findBusybox(), ['--list']).trim().split('\n')) {
    if (name !== 'busybox' && !OWN_TOOLS.includes(name)) archive.link(`/bin/${name}`, 'busybox');
  }
  for (const name of OWN_TOOLS) withLibraries(userland.find(`/usr/bin/${name}`), `/usr/bin/${name}`);
  archive.link('/usr/bin/env', '/bin/busybox');
  // Tests that ask for a compiler want the programs; those are here.
  archive.file(
    '/bin/cc',
    '#!/bin/sh\n[ "$1" = --version ] || { echo "the guest has no compiler" >&2; exit 1; }\n',
    0o755,
  );
  archive.file(
    '/etc/passwd',
    'root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nother:x:1001:1001::/tmp:/bin/sh\n',
  );
  archive.file('/etc/hosts', '127.0.0.1 localhost\n');
  archive.file('/etc/group', 'root:x:0:\nuser:x:1000:\nother:x:1001:\n');
  withLibraries(userland.find('/usr/bin/node'), '/usr/bin/node');
  for (const name of readdirSync(join(kernel.folder, 'modules')).sort()) {
    archive.copy(join(kernel.folder, 'modules', name), `/modules/${name}`);
  }
  archive.file(
    '/settings',
    Object.entries(settings.boot)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  archive.file('/jobs.json', JSON.stringify(settings.jobs));

  const at = (file) => join(GUEST_ROOT, file);
  archive.copy(join(built, 'package'), at('node_modules/pagemap-scan'));
  for (const link of ['dist', 'src']) archive.link(at(link), 'node_modules/pagemap-scan/dist');
  archive.link('/bin/pmscan', at('dist/cli/main.js'));
  archive.copy(join(ROOT, 'package.json'), at('package.json'));
  const binaries = (file) =>
    !/\.(md|map|d\.ts|h|hh|cc|cpp|c)$/.test(file) && !/koffi\/(vendor|doc)$/.test(file);
  for (const name of [...productionPackages(), ...EXPECT.map((name) => `node_modules/${name}`)]) {
    const source = userland.module(name);
    if (source !== undefined) archive.copy(source, at(guestName(name, source)), binaries);
  }
  archive.file(at('node_modules/vitest/package.json'), '{ "type": "module", "exports": "./index.mjs" }');
  archive.copy(join(import.meta.dirname, 'guest/vitest.mjs'), at('node_modules/vitest/index.mjs'));
  for (const name of ['agent.mjs', 'run-tests.mjs'])
    archive.copy(join(import.meta.dirname, 'guest', name), at(name));
  archive.copy(join(built, 'js/test'), at('test'));
  for (const name of ['scripts', 'bench']) archive.copy(join(ROOT, name), at(name));
  const isData = (file) => statSync(file).isDirectory() || /\.(mjs|jsonl|c)$/.test(file);
  for (const folder of ['live', 'native', 'soak', 'support', 'traces']) {
    for (const name of readdirSync(join(ROOT, 'test', folder))) {
      const source = join(ROOT, 'test', folder, name);
      if (isData(source)) archive.copy(source, at(`test/${folder}/${name}`));
    }
  }
  for (const source of more) {
    if (archive.has(source)) continue;
    if (statSync(source).isDirectory())
      archive.copy(realpathSync(source), source, (file) => !archive.has(file));
    else withLibraries(source, source);
  }
  // Newer than their sources, so that nobody wants to compile them.
  for (const name of readdirSync(native)) withLibraries(join(native, name), at(`.build/${name}`));
  archive.end();
}
