import { describe, test } from 'vitest';
import { livePlatform } from './live.js';
import { conformance } from './suite.js';

const platform = await livePlatform();

if (typeof platform !== 'string') describe(platform.name, () => conformance(platform));
else if (process.env['CI']) throw new Error(`Cannot be skipped in CI: ${platform}`);
else test.skip(`live kernel (skipped: ${platform})`, () => {});
