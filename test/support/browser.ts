/** Chromium, without a screen and without talking to anybody of its own accord. */
import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';

const PROGRAM = '/usr/bin/chromium';

export function hasChromium(): boolean {
  return existsSync(PROGRAM);
}

export async function startChromium(): Promise<Browser> {
  // Here, so that whoever only asks whether there is one need not have it.
  const { chromium } = await import('playwright-core');
  return chromium.launch({
    executablePath: PROGRAM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
