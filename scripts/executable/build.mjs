// Makes build/pmscan, one file that needs nothing but the C and C++ libraries: Node.js with the command's code, koffi's native
// code and the page's files in it (a "single executable application"). dist/ is built first.
//   npm run build:executable                   for this machine's processor: build/pmscan
//   npm run build:executable -- --arch arm64   for another one: build/pmscan-arm64
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { installNode } from '../../test/support/nodes.mjs';
import { unpackPackage } from '../../test/support/packages.mjs';

/** The newest long-term release that needs nothing beyond a base system: 26 needs libatomic, which few have. */
const NODE = '24';

/** What Node.js looks for in itself; https://nodejs.org/api/single-executable-applications.html. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

/** The processors that there is an executable for, by Node's names. */
const ARCHITECTURES = {
  x64: { title: 'x86-64', strip: 'x86_64-linux-gnu-strip' },
  arm64: { title: 'arm64', strip: 'aarch64-linux-gnu-strip' },
};

const { arch } = parseArgs({ options: { arch: { type: 'string', default: process.arch } } }).values;
const target = ARCHITECTURES[arch];
if (process.platform !== 'linux' || ARCHITECTURES[process.arch] === undefined)
  throw new Error('Cannot build the executable: this is not Linux on x86-64 or arm64');
if (target === undefined)
  throw new Error(
    `Cannot build the executable for ${arch}: there is one for ${Object.keys(ARCHITECTURES).join(' and ')}`,
  );
const isForeign = arch !== process.arch;

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const work = join(root, '.build', `executable-${arch}`);
const modules = join(root, 'node_modules');
const ASSETS = ['dist/web/assets', 'dist/man'];

const versionOf = (folder) => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version;

/** The code as one file; the npm packages that are in it. */
async function bundle(outfile) {
  const { metafile } = await build({
    entryPoints: [join(here, 'main.mjs')],
    outfile,
    bundle: true,
    platform: 'node',
    target: `node${NODE}`,
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'warning',
    metafile: true,
    absWorkingDir: root,
    plugins: [
      {
        name: 'parts',
        setup: ({ onResolve }) =>
          onResolve({ filter: /\/parts\/index\.js$/ }, () => ({ path: join(here, 'parts.mjs') })),
      },
    ],
  });
  const names = Object.keys(metafile.inputs).map(
    (path) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1],
  );
  return [...new Set(names)].filter((name) => name !== undefined).sort();
}

/** The licence of what is in a folder. */
function licence(name, folder) {
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  if (file === undefined) throw new Error(`Cannot pass ${name} on: its package has no licence`);
  return `${'='.repeat(100)}\n${name} ${versionOf(folder)}\n\n${readFileSync(join(folder, file), 'utf8').trim()}\n`;
}

/** Puts the blob into the program, where Node.js finds it when it starts. */
function inject(program, blob) {
  const postject = join(modules, 'postject/dist/cli.js');
  const args = [postject, program, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', FUSE];
  // It warns of each section that has no name.
  const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`Cannot put the code into Node.js: ${stderr}`);
}

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const main = join(work, 'pmscan.cjs');
const packages = await bundle(main);

// What is injected is made by this machine's Node; it fits the other one's program of the same version.
const { bin, version } = installNode(NODE);
const packageOfNode = isForeign
  ? unpackPackage(`node-linux-${arch}`, version, join(root, '.build'))
  : dirname(bin);
const koffi = versionOf(join(modules, 'koffi'));
const koffiName = `@koromix/koffi-linux-${arch}`;
const packageOfKoffi = isForeign
  ? unpackPackage(koffiName, koffi, join(root, '.build'))
  : join(modules, koffiName);
const made = join(work, 'made-of');
writeFileSync(
  made,
  `(one file: Node.js ${version}, koffi ${koffi}; for Linux on ${target.title} with glibc 2.28 or later)`,
);
const licences = join(work, 'licences');
writeFileSync(
  licences,
  [
    licence('pagemap-scan', root),
    licence('Node.js', packageOfNode),
    ...['koffi', ...packages].map((name) => licence(name, join(modules, name))),
  ].join('\n'),
);

const config = join(work, 'sea.json');
const blob = join(work, 'pmscan.blob');
writeFileSync(
  config,
  JSON.stringify({
    main,
    output: blob,
    disableExperimentalSEAWarning: true,
    // V8's code for this machine's processor is of no use to another one's.
    useCodeCache: !isForeign,
    // NODE_OPTIONS is for Node.js, which this is not to anybody who runs it.
    execArgvExtension: 'none',
    assets: {
      'made-of': made,
      licences,
      'koffi.node': join(packageOfKoffi, `linux_${arch}`, 'koffi.node'),
      ...Object.fromEntries(
        [
          'package.json',
          ...ASSETS.flatMap((folder) => readdirSync(join(root, folder)).map((name) => `${folder}/${name}`)),
        ].map((path) => [path, join(root, path)]),
      ),
    },
  }),
);
const node = join(bin, 'node');
execFileSync(node, ['--experimental-sea-config', config], { stdio: ['ignore', 'ignore', 'pipe'] });

const program = join(work, 'pmscan');
copyFileSync(join(packageOfNode, 'bin', 'node'), program);
chmodSync(program, 0o755);
// A tenth of Node.js is for its debuggers.
const strip = isForeign ? target.strip : 'strip';
if (spawnSync(strip, [program]).status !== 0) console.error(`Not stripped: there is no ${strip} (binutils)`);
inject(program, blob);
const result = join(root, 'build', isForeign ? `pmscan-${arch}` : 'pmscan');
mkdirSync(dirname(result), { recursive: true });
renameSync(program, result);
console.log(`${result}: ${(statSync(result).size / 2 ** 20).toFixed(1)} MiB`);
