/** Control groups that tests make. */
import { rmdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Removes a group whose processes have ended, which the kernel may need a moment to see. */
export async function removeGroup(folder: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      rmdirSync(folder);
      return;
    } catch (error) {
      if (tries === 1000) throw error;
      await sleep(5);
    }
  }
}
