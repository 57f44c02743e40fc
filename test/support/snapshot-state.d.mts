import type { StoredMapping } from '../../src/snapshot/manifest.js';
import type { NewSnapshot } from '../../src/snapshot/store.js';

export const STATE: Omit<NewSnapshot, 'timeMs' | 'table' | 'written' | 'mappings'>;
export function mappingOf(start: number, end: number): StoredMapping;
