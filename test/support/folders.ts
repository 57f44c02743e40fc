/** Folders of their own for the tests of a file, gone when these have ended. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** Gives another path each time; nothing is there yet. */
export function testFolders(name: string): () => string {
  const base = mkdtempSync(join(tmpdir(), `pagemap-scan-${name}-`));
  afterAll(() => rmSync(base, { recursive: true, force: true }));
  let folders = 0;
  return () => join(base, String(++folders));
}
