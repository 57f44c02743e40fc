// Node.js of other versions, by the npm packages that bring its program. Kept in .build from run to run: one is 200 MB.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILD = join(dirname(fileURLToPath(import.meta.url)), '../../.build');
const NAME = `node-${process.platform}-${process.arch}`;

/**
 * npm's own variables of the run that we are in speak of this repository, not of the folder that is installed into; its
 * settings (where packages come from, the cache) hold for both.
 */
export function freshEnvironment() {
  const inherited = Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_(package|lifecycle|command|execpath|node_execpath|config_local_prefix)|INIT_CWD$|NODE_|VITEST)/.test(
        name,
      ),
  );
  return {
    ...Object.fromEntries(inherited),
    npm_config_loglevel: 'error',
    npm_config_update_notifier: 'false',
  };
}

const npm = (cwd, ...args) =>
  execFileSync('npm', args, { cwd, env: freshEnvironment(), encoding: 'utf8', stdio: 'pipe' });

/** '26.1.0' of the program in a folder; undefined when there is none that runs. */
function versionIn(bin) {
  const program = join(bin, 'node');
  if (!existsSync(program)) return undefined;
  try {
    return execFileSync(program, ['-p', 'process.versions.node'], {
      env: freshEnvironment(),
      encoding: 'utf8',
    }).trim();
  } catch {
    return undefined;
  }
}

const major = (version) => version.split('.')[0];

/** The newest version that there is; undefined without a network. */
function newest() {
  try {
    return npm(BUILD, 'view', `${NAME}@latest`, 'version').trim();
  } catch {
    return undefined;
  }
}

/**
 * Installs Node.js of a major version, or 'newest', unless it is there.
 *
 * @param {string} wanted
 * @returns {{ bin: string, version: string }} the folder with the program `node`, and what it says it is
 */
export function installNode(wanted) {
  mkdirSync(BUILD, { recursive: true });
  const folder = join(BUILD, `node-${wanted}`);
  const bin = join(folder, 'node_modules', NAME, 'bin');
  const present = versionIn(bin);
  const latest = wanted === 'newest' ? newest() : undefined;
  if (present !== undefined && (latest === undefined || major(present) === major(latest)))
    return { bin, version: present };

  // Beside its place, then moved there: an installation that was interrupted is never taken for a whole one.
  const fresh = `${folder}.${process.pid}`;
  try {
    mkdirSync(fresh, { recursive: true });
    writeFileSync(join(fresh, 'package.json'), '{ "private": true }\n');
    npm(
      fresh,
      'install',
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      `${NAME}@${latest ?? (wanted === 'newest' ? 'latest' : wanted)}`,
    );
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  const version = versionIn(bin);
  if (version === undefined) throw new Error(`Node.js ${wanted} was installed, but does not run`);
  return { bin, version };
}
