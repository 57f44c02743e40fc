/** What the other layers use besides what is public. */

export { requireUsable } from './check.js';
export { codeOf } from './errno.js';
export { scanError } from './errors.js';
export * from './index.js';
export { hugePageSizeOf } from './page-size.js';
export * from './procmap.js';
export * from './ptrace.js';
export { firstIndex } from './search.js';
export * from './syscalls.js';
export { MOST_USER_SPACE_END } from './user-space.js';
