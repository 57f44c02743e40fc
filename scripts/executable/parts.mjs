// Stands in for dist/parts in the single executable: programs are this very file under another first argument, files and
// native code come from inside of it.
import { closeSync, mkdtempSync, openSync, rmdirSync, unlinkSync, writeSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { getAsset, getRawAsset } from 'node:sea';

export const programArgument = (name) => `@${name}`;

export const readPart = (path) => getAsset(path, 'utf8');

export const madeOf = () => getAsset('made-of', 'utf8');

/** Where the dynamic linker can be handed native code: not every folder's file system lets code be run. */
const folders = () => [tmpdir(), '/dev/shm', '/var/tmp', `/run/user/${process.getuid()}`, homedir()];

/**
 * The library as a file that has no name any more when it is written: nobody can open it but through this process, which
 * takes the permission to trace it. The folder is there for an instant, and is this user's alone.
 */
function loadFrom(parent, bytes) {
  const folder = mkdtempSync(join(parent, 'pmscan-'));
  const path = join(folder, 'koffi.node');
  let fd;
  try {
    fd = openSync(path, 'wx+', 0o700);
    unlinkSync(path);
  } finally {
    rmdirSync(folder);
  }
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done);
    const module = { exports: {} };
    process.dlopen(module, `/proc/self/fd/${fd}`);
    return module.exports;
  } finally {
    // What is mapped stays.
    closeSync(fd);
  }
}

export function loadKoffi() {
  const bytes = new Uint8Array(getRawAsset('koffi.node'));
  const failures = [];
  for (const parent of folders()) {
    try {
      return loadFrom(parent, bytes);
    } catch (error) {
      failures.push(`${parent}: ${error.message}`);
    }
  }
  throw new Error(`No folder takes native code; ${failures.join('; ')}`);
}
