/** What the other layers use besides what is public. */
export * from './index.js';
export { ownedLabel, ownedMatcher, ownerText } from './label.js';
export { findOwners, OwnerNames } from './live.js';
