export { OWNER_KINDS, type Owner, type OwnerKind } from './owner.js';
export {
  type OwnedMapping,
  type OwnedMemory,
  type OwnerSum,
  ownersOf,
  type V8SpaceMemory,
} from './owners-of.js';
