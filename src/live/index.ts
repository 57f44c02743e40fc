export {
  Attacher,
  type Attachment,
  type AttachOptions,
  attachProblem,
  attachUserfaultfd,
} from './attach.js';
export { type Answer, type Capability, probeCapabilities } from './capabilities.js';
export { DescriptorSearch, mountKinds, type OpenDescriptor, openDescriptors } from './descriptors.js';
export {
  fallbackKnowledge,
  type Knowledge,
  softDirtyMissing,
} from './fallback/knowledge.js';
export { FallbackPagemap } from './fallback/pagemap.js';
export { linkDescriptor, punchHole } from './files.js';
export { type Freezer, freezerOf } from './frozen.js';
export { holesAreWritten } from './holes.js';
export type { LivePagemap, Provider } from './live-pagemap.js';
export { lockFile } from './lock.js';

export {
  bufferAddress,
  createMemoryFile,
  type MapOptions,
  MappedMemory,
  mapMemory,
  SafeAccess,
} from './memory.js';
export {
  chooseProvider,
  DISABLE_VARIABLE,
  IoctlPagemap,
  ioctlDisabled,
  kernelCategories,
  openPagemap,
  PROVIDER_VARIABLE,
} from './pagemap.js';
export { allowTracing, hiddenHint, onlyAncestorsTrace, replaceProgram } from './permission.js';
export { countLongPins, countPins, type PinCount } from './pins.js';
export {
  findProcesses,
  isEnded,
  ProcessError,
  ProcessHandle,
  type ProcessMatch,
  type ProcessProblem,
} from './process.js';
export { dataRanges, openMappedFile, ProcessMemory, type Ranges } from './process-memory.js';
export { mappingPageSize, mappingsCover } from './procmap.js';
export { sleep as pause } from './ptrace.js';
export { ProcessStopper, type StopOptions, StoppedProcess, stopProcess } from './stop.js';
export { ASYNC_RWP_FEATURES, ASYNC_WP_FEATURES, Userfaultfd, type UserfaultfdSource } from './userfaultfd.js';
