export type { AttachOptions } from './attach.js';
export { type Answer, type Capability, probeCapabilities } from './capabilities.js';
export { FallbackPagemap } from './fallback/pagemap.js';
export { hugePageSize, pageSize, userSpaceEnd } from './libc.js';
export type { LivePagemap, Provider } from './live-pagemap.js';
export { bufferAddress, type MapOptions, MappedMemory, mapMemory, SafeAccess } from './memory.js';
export { chooseProvider, IoctlPagemap, kernelCategories, openPagemap } from './pagemap.js';
export {
  findProcesses,
  ProcessError,
  ProcessHandle,
  type ProcessMatch,
  type ProcessProblem,
} from './process.js';
export { type StopOptions, StoppedProcess, stopProcess } from './stop.js';
export { ASYNC_RWP_FEATURES, ASYNC_WP_FEATURES, Userfaultfd, type UserfaultfdSource } from './userfaultfd.js';
