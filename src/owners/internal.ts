/** What the other layers use besides what is public. */
export { type Evidence, type ThreadEvidence, Words } from './evidence.js';
export * from './index.js';
export { besideLabel, ownedLabel, ownedMatcher, ownerSaysMore, ownerText } from './label.js';
export { findOwners, OwnerNames } from './live.js';
export { recogniseOwners } from './recognise.js';
