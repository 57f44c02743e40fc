// Kernels of other releases, from Debian's archive: fetched with apt into a cache folder of our own. Nothing is installed,
// and the system's package lists and settings stay as they are. Needs no root.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';

/** Where Debian has which release: suites in the order of preference, and the package's name. */
const RELEASES = {
  6.1: { package: 'linux-image-cloud-amd64', suites: ['bookworm-security', 'bookworm'] },
  // Before the fix of a hang, which the tests show here.
  '6.12.43': { exactly: 'linux-image-6.12.43+deb12-cloud-amd64' },
  6.12: { package: 'linux-image-6.12-cloud-amd64', suites: ['bookworm-security'] },
};

export const KERNELS = Object.keys(RELEASES);

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** What a guest needs beyond what is built in: the port for results, swap space in memory. */
const MODULES = ['virtio_pci', 'virtio_console', 'zram', 'lzo-rle', 'lzo_rle'];

function cacheFolder() {
  const base = process.env.XDG_CACHE_HOME || join(homedir(), '.cache');
  return process.env.PMSCAN_CACHE || join(base, 'pagemap-scan');
}

function run(program, args, options = {}) {
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
}

/** Where this system gets its packages from: its mirror is near, and may be the only one that it reaches. */
function archives() {
  const lines = run('apt-get', ['indextargets', '--format', '$(CODENAME) $(SUITE) $(REPO_URI)']).split('\n');
  const uri = (pattern) =>
    lines
      .find((line) => pattern.test(line))
      ?.split(' ')
      .at(-1);
  const main = uri(/^bookworm /);
  if (main === undefined)
    throw new Error('Cannot fetch kernels: this system gets no packages of Debian 12 (bookworm)');
  return { main, security: uri(/^bookworm-security /) };
}

/** apt with lists, sources and cache of its own. */
class Apt {
  #folder;
  #options;

  constructor(folder) {
    this.#folder = folder;
    mkdirSync(join(folder, 'lists/partial'), { recursive: true });
    const { main, security } = archives();
    const from = (archive, suite) => `deb [signed-by=${KEYRING}] ${archive} ${suite} main\n`;
    writeFileSync(
      join(folder, 'sources.list'),
      [
        from(main, 'bookworm'),
        security === undefined ? '' : from(security, 'bookworm-security'),
        from(main, 'bookworm-backports'),
      ].join(''),
    );
    const settings = {
      'Dir::Etc::SourceList': join(folder, 'sources.list'),
      'Dir::Etc::SourceParts': '/dev/null',
      'Dir::State::Lists': join(folder, 'lists'),
      'Dir::Cache': folder,
      'APT::Architecture': 'amd64',
      'APT::Sandbox::User': process.getuid() === 0 ? 'root' : '',
      'Debug::NoLocking': '1',
      'Acquire::Retries': '3',
      'Acquire::Languages': 'none',
    };
    this.#options = [
      '-qq',
      ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]),
    ];
  }

  update() {
    run('apt-get', [...this.#options, 'update']);
  }

  /** Everything whose name matches. */
  names(pattern) {
    return run('apt-cache', [...this.#options, 'pkgnames', 'linux-image-'])
      .split('\n')
      .filter((name) => pattern.test(name));
  }

  /** The package that a meta-package stands for at the moment. */
  dependency(name, suite) {
    const text = run('apt-cache', [...this.#options, 'show', `${name}/${suite}`]);
    return /^Depends: (linux-image-\S+)/m.exec(text)?.[1];
  }

  download(name) {
    run('apt-get', [...this.#options, 'download', name], { cwd: this.#folder });
    const file = readdirSync(this.#folder).find(
      (entry) => entry.startsWith(`${name}_`) && entry.endsWith('.deb'),
    );
    return join(this.#folder, file);
  }
}

function makeApt() {
  const apt = new Apt(join(cacheFolder(), 'apt'));
  apt.update();
  return apt;
}

/** The kernel packages that Debian has at the moment. */
export function availableKernels() {
  return makeApt()
    .names(/^linux-image-\d.*-cloud-amd64$/)
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
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

/** Unpacks a kernel package to what a virtual machine needs of it. */
function unpack(deb, folder) {
  const whole = `${folder}-${process.pid}`;
  try {
    mkdirSync(whole, { recursive: true });
    run('dpkg-deb', ['-x', deb, `${whole}/package`]);
    const image = readdirSync(`${whole}/package/boot`).find((name) => name.startsWith('vmlinuz-'));
    const release = image.slice('vmlinuz-'.length);
    const modules = new Modules(join(`${whole}/package/lib/modules`, release));
    const wanted = new Map();
    for (const name of MODULES) modules.add(name, wanted);
    mkdirSync(`${whole}/kernel/modules`, { recursive: true });
    [...wanted].forEach(([name, content], index) => {
      writeFileSync(`${whole}/kernel/modules/${String(index).padStart(2, '0')}-${name}.ko`, content);
    });
    renameSync(`${whole}/package/boot/config-${release}`, `${whole}/kernel/config`);
    renameSync(`${whole}/package/boot/${image}`, `${whole}/kernel/vmlinuz`);
    writeFileSync(`${whole}/kernel/release`, release);
    rmSync(folder, { recursive: true, force: true });
    renameSync(`${whole}/kernel`, folder);
  } finally {
    rmSync(whole, { recursive: true, force: true });
  }
}

function describe(name, folder) {
  return {
    name,
    folder,
    image: join(folder, 'vmlinuz'),
    release: readFileSync(join(folder, 'release'), 'utf8'),
  };
}

/** Debian keeps no package for ever: what is asked for by its exact release may be gone. */
export class KernelGone extends Error {}

/**
 * The kernel `name`, unpacked: one of KERNELS, the name of a Debian package, or the path of a package's file.
 *
 * @throws KernelGone
 * @returns {{ name: string, folder: string, image: string, release: string }}
 */
export function getKernel(name, { fresh = false } = {}) {
  const cache = cacheFolder();
  const folder = join(cache, 'kernels', basename(name, '.deb'));
  if (!fresh && existsSync(join(folder, 'release'))) return describe(name, folder);
  mkdirSync(join(cache, 'kernels'), { recursive: true });
  if (name.endsWith('.deb')) {
    unpack(name, folder);
    return describe(name, folder);
  }
  const known = RELEASES[name];
  if (known === undefined && !name.startsWith('linux-image-')) {
    throw new Error(
      `Cannot find a kernel ${name}: give one of ${KERNELS.join(', ')}, a package's name or its file`,
    );
  }
  const apt = makeApt();
  let chosen = known === undefined ? name : known.exactly;
  for (const suite of known?.suites ?? []) {
    try {
      chosen ??= apt.dependency(known.package, suite);
    } catch {
      // Not in this suite.
    }
  }
  // Without the meta-package: the newest of the release, of whatever suite has one.
  chosen ??= apt
    .names(new RegExp(`^linux-image-${name.replace('.', '\\.')}[.].*cloud-amd64$`))
    .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1);
  if (chosen === undefined) throw new Error(`Cannot find a kernel ${name}: Debian's archive has none`);
  if (chosen === known?.exactly && !apt.names(/./).includes(chosen))
    throw new KernelGone(`Debian's archive no longer has Linux ${name}`);
  const deb = apt.download(chosen);
  unpack(deb, folder);
  rmSync(deb);
  return describe(name, folder);
}
