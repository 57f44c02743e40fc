// Makes build/pmscan, one file that needs nothing but the C and C++ libraries: Node.js with the command's code, koffi's native
// code and the page's files in it (a "single executable application"). dist/ is built first.
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
import { build } from 'esbuild';
import { installNode } from '../../test/support/nodes.mjs';

/** The newest long-term release that needs nothing beyond a base system: 26 needs libatomic, which few have. */
const NODE = '24';

/** What Node.js looks for in itself; https://nodejs.org/api/single-executable-applications.html. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '../..');
const work = join(root, '.build', 'executable');
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

if (process.platform !== 'linux' || process.arch !== 'x64')
  throw new Error('Cannot build the executable: this is not Linux on x86-64');

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const main = join(work, 'pmscan.cjs');
const packages = await bundle(main);

const { bin, version } = installNode(NODE);
const made = join(work, 'made-of');
const koffi = versionOf(join(modules, 'koffi'));
writeFileSync(
  made,
  `(one file: Node.js ${version}, koffi ${koffi}; for Linux on x86-64 with glibc 2.28 or later)`,
);
const licences = join(work, 'licences');
writeFileSync(
  licences,
  [
    licence('pagemap-scan', root),
    licence('Node.js', dirname(bin)),
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
    useCodeCache: true,
    // NODE_OPTIONS is for Node.js, which this is not to anybody who runs it.
    execArgvExtension: 'none',
    assets: {
      'made-of': made,
      licences,
      'koffi.node': join(modules, '@koromix/koffi-linux-x64/linux_x64/koffi.node'),
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
copyFileSync(node, program);
chmodSync(program, 0o755);
// A tenth of Node.js is for its debuggers.
if (spawnSync('strip', [program]).status !== 0) console.error('Not stripped: there is no strip (binutils)');
inject(program, blob);
const result = join(root, 'build', 'pmscan');
mkdirSync(dirname(result), { recursive: true });
renameSync(program, result);
console.log(`${result}: ${(statSync(result).size / 2 ** 20).toFixed(1)} MiB`);
