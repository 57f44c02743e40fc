export { findMapping, findMappingIndex, type Mapping, parseMaps } from './maps.js';
export * from './pagemap-words.js';
export { parseSmaps, type SmapsMapping, type SmapsSizes } from './smaps.js';
export {
  type CredentialIds,
  PF_KTHREAD,
  type ProcessStat,
  type ProcessStatus,
  parseStatStartTime,
  parseStatus,
} from './status.js';
export { nameBytes, type ProcFile, ProcParseError } from './text.js';
