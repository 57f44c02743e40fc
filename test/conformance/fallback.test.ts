import { describe, test } from 'vitest';
import { fallbackPlatform, softDirtyPlatform } from './fallback.js';
import { conformance } from './suite.js';

const plain = fallbackPlatform();
if (typeof plain !== 'string') describe(plain.name, () => conformance(plain));
else if (process.env['CI']) throw new Error(`Cannot be skipped in CI: ${plain}`);
else test.skip(`fallback (skipped: ${plain})`, () => {});

// Many kernels keep no soft-dirty bits; those of test/vm do.
const tracking = softDirtyPlatform();
if (typeof tracking !== 'string') describe(tracking.name, () => conformance(tracking));
else test.skip(`fallback, soft-dirty (skipped: ${tracking})`, () => {});
