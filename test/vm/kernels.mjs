// Kernels of other releases, from Debian's archive: fetched with apt into a cache folder of our own. Nothing is installed,
// and the system's package lists and settings stay as they are. Needs no root.
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

/** Where Debian has which release: suites in the order of preference. Those that are pinned or pass may be gone one day. */
const RELEASES = {
  6.1: { suites: ['bookworm-security', 'bookworm'] },
  // Before the fix of a hang, which the tests show here.
  '6.12.43': { suites: ['bookworm-backports'] },
  6.12: { suites: ['bookworm-security', 'bookworm-backports'] },
  7.2: { suites: ['trixie-backports', 'forky', 'sid'] },
  newest: { suites: ['trixie-backports'], isNewest: true },
};

/**
 * Debian's kinds of kernels that machines are made of, by the ends of their packages' names. In the names here, a kernel of another
 * architecture than x86-64 has that architecture at its end: `6.12-arm64`.
 */
const FLAVOURS = [
  // Pages of 16 KiB; there is none of these for clouds.
  { debian: 'arm64', end: 'arm64-16k', suffix: '-arm64-16k' },
  { debian: 'arm64', end: 'cloud-arm64', suffix: '-arm64' },
  { debian: 'amd64', end: 'cloud-amd64', suffix: '' },
];
const ENDS = FLAVOURS.map(({ end }) => end);

export const KERNELS = Object.keys(RELEASES);

/** All that have kernels, the lists of the largest last. */
const SUITES = ['trixie-backports', 'bookworm-security', 'bookworm-backports', 'bookworm', 'forky', 'sid'];

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** What a guest needs beyond what is built in: the port for results, swap space in memory. */
const MODULES = ['virtio_pci', 'virtio_console', 'zram', 'lzo-rle', 'lzo_rle'];

export function cacheFolder() {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return process.env.PMSCAN_CACHE || join(base, 'pagemap-scan');
}

function run(program, args, options = {}) {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

/** Where this system gets its packages from: its mirror is near, and may be the only one that it reaches. */
function archives() {
  const lines = run('apt-get', ['indextargets', '--format', '$(CODENAME) $(REPO_URI)']).split('\n');
  const uri = (pattern) => lines.find((line) => pattern.test(line))?.split(' ')[1];
  const main = uri(/^(bookworm|trixie|forky|sid) /);
  if (main === undefined) throw new Error('Cannot fetch kernels: this system gets no packages of Debian');
  return { main, security: uri(/^(bookworm|trixie|forky)-security /) };
}

const newestFirst = (a, b) => b.localeCompare(a, 'en', { numeric: true });

/** One suite of Debian for one architecture, by an apt with lists, sources and cache of its own. */
class Suite {
  #folder;
  #options;
  #architecture;
  #packages;

  constructor(name, architecture) {
    this.#architecture = architecture;
    this.#folder = join(cacheFolder(), 'apt', architecture === 'amd64' ? name : `${name}-${architecture}`);
    mkdirSync(join(this.#folder, 'lists/partial'), { recursive: true });
    const { main, security } = archives();
    const archive = name.endsWith('-security') ? security : main;
    const source = `deb [signed-by=${KEYRING}] ${archive} ${name} main\n`;
    writeFileSync(join(this.#folder, 'sources.list'), archive === undefined ? '' : source);
    const settings = {
      'Dir::Etc::SourceList': join(this.#folder, 'sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::State::Lists': join(this.#folder, 'lists'),
      // What the system has installed is of no interest.
      'Dir::State::status': '/dev/null',
      'Dir::Cache': this.#folder,
      'APT::Architecture': architecture,
      'APT::Architectures': architecture,
      'APT::Sandbox::User': process.getuid() === 0 ? 'root' : '',
      'APT::Update::Error-Mode': 'any',
      'Debug::NoLocking': '1',
      'Acquire::Retries': '3',
      'Acquire::Languages': 'none',
    };
    this.#options = [
      '-qq',
      ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ];
    // A list in the system's own settings, which an option would only add to.
    writeFileSync(join(this.#folder, 'apt.conf'), '#clear APT::Architectures;\n');
    run('apt-get', [...this.#options, 'update'], this.#environment);
    this.#packages = this.#depends();
  }

  get #environment() {
    return { env: { ...process.env, APT_CONFIG: join(this.#folder, 'apt.conf') } };
  }

  /** Its packages of kernels for clouds: name → the names of what they depend on. */
  #depends() {
    // A name that another package mentions is listed like one that is there, and then not shown.
    const ends = FLAVOURS.filter(({ debian }) => debian === this.#architecture).map(({ end }) => end);
    const pattern = new RegExp(`^linux-(image|binary|modules)-(.*-)?(${ends.join('|')})$`);
    const names = run('apt-cache', [...this.#options, 'pkgnames', 'linux-'], this.#environment)
      .split('\n')
      .filter((name) => pattern.test(name));
    if (names.length === 0) return new Map();
    const text = run('apt-cache', [...this.#options, 'show', '--no-all-versions', ...names], {
      ...this.#environment,
      maxBuffer: 2 ** 26,
    });
    return new Map(
      text.split(/\n\n+/).flatMap((entry) => {
        const name = /^Package: (.*)$/m.exec(entry)?.[1];
        const depends = /^Depends: (.*)$/m.exec(entry)?.[1].split(', ') ?? [];
        return name === undefined ? [] : [[name, depends.map((each) => each.split(' ')[0])]];
      }),
    );
  }

  /** The names of its images that match, the newest first. */
  images(pattern) {
    return [...this.#packages.keys()].filter((name) => pattern.test(name)).sort(newestFirst);
  }

  /** The image that a meta-package stands for at the moment. */
  image(name) {
    return this.#packages.get(name)?.find((each) => each.startsWith('linux-image-'));
  }

  /** The packages that make up the kernel of an image package; undefined when the suite does not have them all. */
  parts(image) {
    const depends = this.#packages.get(image);
    if (depends === undefined) return undefined;
    const release = image.slice('linux-image-'.length);
    // Since 6.19 the image is a meta-package of these.
    const others = ['linux-binary-', 'linux-modules-']
      .map((kind) => kind + release)
      .filter((each) => depends.includes(each));
    return others.every((each) => this.#packages.has(each)) ? [image, ...others] : undefined;
  }

  /** @returns a folder with the packages' files, for the caller to remove */
  download(names) {
    const folder = mkdtempSync(join(this.#folder, 'packages-'));
    run('apt-get', [...this.#options, 'download', ...names], { ...this.#environment, cwd: folder });
    return folder;
  }
}

const suites = new Map();

/** Suites are opened once, when they are looked at. */
export function openSuite(name, architecture = 'amd64') {
  const key = `${name} ${architecture}`;
  if (!suites.has(key)) suites.set(key, new Suite(name, architecture));
  return suites.get(key);
}

const imageEndingIn = (end) => new RegExp(`^linux-image-\\d+\\.\\d+\\.\\d.*-${end}$`);

/** The kernel packages that Debian has at the moment for x86-64. */
export function availableKernels() {
  return SUITES.flatMap((name) => {
    const suite = openSuite(name);
    const images = suite
      .images(imageEndingIn('cloud-amd64'))
      .filter((image) => suite.parts(image) !== undefined);
    return images.map((image) => `${image} (${name})`);
  });
}

/** The dynamic loader's view of modules: their file names by name, and what each needs. */
class Modules {
  #files = new Map();

  constructor(folder) {
    for (const entry of readdirSync(folder, { recursive: true })) {
      const name = /([^/]+)\.ko(\.xz)?$/.exec(entry)?.[1];
      if (name !== undefined) this.#files.set(name.replaceAll('-', '_'), join(folder, entry));
    }
  }

  #content(file) {
    return file.endsWith('.xz')
      ? execFileSync('xz', ['-dc', file], { maxBuffer: 2 ** 27 })
      : readFileSync(file);
  }

  /** Adds `name`, after what it needs; what is built in has no file. */
  add(name, found) {
    const key = name.replaceAll('-', '_');
    const file = this.#files.get(key);
    if (file === undefined || found.has(key)) return;
    const content = this.#content(file);
    const depends = /\0depends=([^\0]*)\0/.exec(content.toString('latin1'))?.[1] ?? '';
    for (const need of depends.split(',').filter(Boolean)) this.add(need, found);
    found.set(key, content);
  }
}

/** The file in a package, of the places where it may be. */
function locate(root, places) {
  const found = places.map((place) => join(root, place)).find((path) => existsSync(path));
  if (found === undefined)
    throw new Error(`Cannot unpack a kernel: none of its packages has ${places.join(' or ')}`);
  return found;
}

/** The release whose modules a package has. */
function releaseIn(root) {
  for (const place of ['usr/lib/modules', 'lib/modules']) {
    if (existsSync(join(root, place))) return readdirSync(join(root, place))[0];
  }
  throw new Error('Cannot unpack a kernel: no package of it has modules');
}

/** Unpacks the packages of a kernel to what a virtual machine needs of it, in the folder `kernels/RELEASE`. */
function unpack(debs) {
  const kernels = join(cacheFolder(), 'kernels');
  mkdirSync(kernels, { recursive: true });
  const whole = mkdtempSync(join(kernels, '.unpack-'));
  const [root, kernel] = [join(whole, 'package'), join(whole, 'kernel')];
  try {
    for (const deb of debs) run('dpkg-deb', ['-x', deb, root]);
    const release = releaseIn(root);
    const places = (file) => [`usr/lib/modules/${release}/${file}`, `boot/${file}-${release}`];
    const modules = new Modules(locate(root, [`usr/lib/modules/${release}`, `lib/modules/${release}`]));
    const wanted = new Map();
    for (const name of MODULES) modules.add(name, wanted);
    mkdirSync(join(kernel, 'modules'), { recursive: true });
    [...wanted].forEach(([name, content], index) => {
      writeFileSync(join(kernel, `modules/${String(index).padStart(2, '0')}-${name}.ko`), content);
    });
    renameSync(locate(root, places('vmlinuz')), join(kernel, 'vmlinuz'));
    writeFileSync(join(kernel, 'release'), release);
    rmSync(join(kernels, release), { recursive: true, force: true });
    renameSync(kernel, join(kernels, release));
    return join(kernels, release);
  } finally {
    rmSync(whole, { recursive: true, force: true });
  }
}

/** The flavour that a kernel's name asks for, and the name without it: `6.12-arm64` is arm64's 6.12. */
function flavourOf(name) {
  const isPackage = name.startsWith('linux-image-');
  const flavour = FLAVOURS.find(({ end, suffix }) => name.endsWith(isPackage ? `-${end}` : suffix));
  if (flavour === undefined)
    throw new Error(`Cannot make a machine of ${name}: give a package that ends in ${ENDS.join(', ')}`);
  return { flavour, base: isPackage ? name : name.slice(0, name.length - flavour.suffix.length) };
}

/**
 * The architecture of the kernel `name`, of a package's file too, as Debian calls it.
 *
 * @returns {'amd64' | 'arm64'}
 */
export function architectureOf(name) {
  if (!name.endsWith('.deb')) return flavourOf(name).flavour.debian;
  return run('dpkg-deb', ['-f', name.split(',')[0], 'Architecture']).trim();
}

function describe(name, folder) {
  const release = readFileSync(join(folder, 'release'), 'utf8');
  const column = name === 'newest' ? /^\d+\.\d+/.exec(release)[0] : name;
  return {
    name,
    column,
    folder,
    image: join(folder, 'vmlinuz'),
    release,
    architecture: architectureOf(name),
  };
}

/** Debian keeps no package for ever: what is asked for may be gone. */
export class KernelGone extends Error {}

const literally = (text) => text.replaceAll(/[.+]/g, '\\$&');

/** The newest image of that name that a suite has whole. */
function findImage(suite, base, { end }) {
  const images = RELEASES[base]?.isNewest
    ? [suite.image(`linux-image-${end}`)].filter((image) => image !== undefined)
    : suite.images(base.startsWith('linux-image-') ? new RegExp(`^${literally(base)}$`) : imageOf(base, end));
  return images.find((image) => suite.parts(image) !== undefined);
}

/** Debian's names of a release's images: `7.3` is 7.3.4+deb13, `6.1` is 6.1.0-57, too. */
function imageOf(release, end) {
  return new RegExp(`^linux-image-${literally(release)}[.+].*-${end}$`);
}

function fetchKernel(name, fresh) {
  const { flavour, base } = flavourOf(name);
  // Of the rarer kinds, not every suite has each release.
  const named = RELEASES[base]?.suites ?? SUITES;
  const inOrder = flavour.suffix === '' ? named : [...new Set([...named, ...SUITES])];
  for (const suiteName of inOrder) {
    const suite = openSuite(suiteName, flavour.debian);
    const image = findImage(suite, base, flavour);
    if (image === undefined) continue;
    const known = join(cacheFolder(), 'kernels', image.slice('linux-image-'.length));
    if (!fresh && existsSync(join(known, 'release'))) return known;
    const folder = suite.download(suite.parts(image));
    try {
      return unpack(readdirSync(folder).map((file) => join(folder, file)));
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  throw new KernelGone(`Debian's archive has no Linux ${name}`);
}

/** Under the name that it was asked for by, beside its own. */
function remember(name, folder) {
  const link = join(cacheFolder(), 'kernels', name);
  if (link === folder) return;
  rmSync(link, { recursive: true, force: true });
  symlinkSync(basename(folder), link);
}

/**
 * The kernel `name`, unpacked: one of KERNELS, the beginning of a release (`7.3`), either with `-arm64` or `-arm64-16k` behind it for
 * one of arm64, the name of a Debian package, or the path of a package's file; of one that comes in several, several with commas between.
 *
 * @throws KernelGone
 * @returns {{ name: string, column: string, folder: string, image: string, release: string, architecture: string }} `column`
 *   of the table
 */
export function getKernel(name, { fresh = false } = {}) {
  if (name.endsWith('.deb')) return describe(name, unpack(name.split(',')));
  if (!/^(\d|newest(-arm64(-16k)?)?$|linux-image-)/.test(name)) {
    throw new Error(
      `Cannot find a kernel ${name}: give one of ${KERNELS.join(', ')}, a release, a package's name or its file`,
    );
  }
  const known = join(cacheFolder(), 'kernels', name);
  if (!fresh && existsSync(join(known, 'release'))) return describe(name, known);
  const folder = fetchKernel(name, fresh);
  remember(name, folder);
  return describe(name, folder);
}
