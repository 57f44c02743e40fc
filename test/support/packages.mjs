// npm packages of another processor, which npm would not install here: fetched and unpacked, never run.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const run = (program, args, options = {}) =>
  execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });

/**
 * Makes `folder` by `work`, in one step: whoever is stopped halfway leaves nothing that looks like the whole.
 *
 * @param {string} folder
 * @param {(mine: string) => void} work is given a folder to fill
 * @returns {string} `folder`
 */
export function makeOnce(folder, work) {
  if (existsSync(folder)) return folder;
  mkdirSync(join(folder, '..'), { recursive: true });
  const mine = mkdtempSync(`${folder}.`);
  try {
    work(mine);
    renameSync(mine, folder);
  } catch (error) {
    rmSync(mine, { recursive: true, force: true });
    throw error;
  }
  return folder;
}

/**
 * An npm package, unpacked in the folder `cache` unless it is there.
 *
 * @param {string} name
 * @param {string} version or a range: the newest of it
 * @param {string} cache
 * @returns {string} the package's folder
 */
export function unpackPackage(name, version, cache) {
  const folder = join(cache, `${name.replace('/', '-')}-${version}`);
  makeOnce(folder, (mine) => {
    const packed = run('npm', ['pack', '--json', '--pack-destination', mine, `${name}@${version}`], {
      env: { ...process.env, npm_config_loglevel: 'error' },
    });
    // Of a range of versions it may pack several: the newest is the last.
    const { filename } = Object.values(JSON.parse(packed)).at(-1);
    run('tar', ['-xzf', join(mine, filename.replace('@', '').replace('/', '-')), '-C', mine]);
    rmSync(join(mine, filename), { force: true });
  });
  return join(folder, 'package');
}
