export { Attacher, type Attachment, type AttachOptions, attachUserfaultfd } from './attach.js';
export { type Answer, type Capability, kernelCategories, probeCapabilities } from './capabilities.js';

export {
  bufferAddress,
  createMemoryFile,
  type MapOptions,
  MappedMemory,
  mapMemory,
  SafeAccess,
} from './memory.js';
export { DISABLE_VARIABLE, ioctlDisabled, LivePagemap, openPagemap } from './pagemap.js';
export { allowTracing, hiddenHint, onlyAncestorsTrace, replaceProgram } from './permission.js';
export {
  findProcesses,
  ProcessError,
  ProcessHandle,
  type ProcessMatch,
  type ProcessProblem,
} from './process.js';
export { mappingPageSize, mappingsCover } from './procmap.js';
export { ASYNC_WP_FEATURES, Userfaultfd, type UserfaultfdSource } from './userfaultfd.js';
