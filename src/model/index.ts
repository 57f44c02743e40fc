export { MAPPING_KINDS, type MappingKind, mappingKind } from '../proc/internal.js';
export * from './owners.js';
export * from './page.js';
