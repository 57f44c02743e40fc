export {
  Attacher,
  type Attachment,
  type AttachOptions,
  attachProblem,
  attachUserfaultfd,
} from './attach.js';
export { type Answer, type Capability, kernelCategories, probeCapabilities } from './capabilities.js';
export { linkDescriptor, punchHole } from './files.js';
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
export { dataRanges, openMappedFile, ProcessMemory, type Ranges } from './process-memory.js';
export { mappingPageSize, mappingsCover } from './procmap.js';
export { ProcessStopper, type StopOptions, StoppedProcess, stopProcess } from './stop.js';
export { ASYNC_WP_FEATURES, Userfaultfd, type UserfaultfdSource } from './userfaultfd.js';
