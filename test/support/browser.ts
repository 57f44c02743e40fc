/** Chromium, without a screen and without talking to anybody of its own accord. */
import { existsSync } from 'node:fs';
import type { Browser } from 'playwright-core';
import { CHROMIUM, CHROMIUM_LAUNCH } from './chromium.mjs';

export function hasChromium(): boolean {
  return existsSync(CHROMIUM);
}

export async function startChromium(): Promise<Browser> {
  // Here, so that whoever only asks whether there is one need not have it.
  const { chromium } = await import('playwright-core');
  return chromium.launch(CHROMIUM_LAUNCH);
}
