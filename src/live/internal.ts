/** What the other layers use besides what is public. */
export { Attacher, type Attachment, attachProblem, attachUserfaultfd } from './attach.js';
export { findContainerProcesses, isContainerId } from './containers.js';
export { DescriptorSearch, mountKinds, type OpenDescriptor, openDescriptors } from './descriptors.js';
export { fallbackKnowledge, type Knowledge, softDirtyMissing } from './fallback/knowledge.js';
export * as pageWords from './fallback/words.js';
export { type BlockSource, WordTables } from './fallback/words.js';
export { cannotSync, linkDescriptor, punchHole } from './files.js';
export { type Freezer, freezerOf } from './frozen.js';
export { type GroupMemory, groupMemoryOf } from './groups.js';
export { holesAreWritten } from './holes.js';
export * from './index.js';
export { libc, requireSmallPages } from './libc.js';
export { lockFile } from './lock.js';
export { architecture } from './machine.js';
export { createMemoryFile } from './memory.js';
export { DISABLE_VARIABLE, ioctlDisabled, PROVIDER_VARIABLE } from './pagemap.js';
export {
  allowTracing,
  hiddenHint,
  mayReadAll,
  mayTraceAll,
  onlyAncestorsTrace,
  replaceProgram,
} from './permission.js';
export { countLongPins, countPins, type PinCount } from './pins.js';
export { atPriority, MODEST, MOST_URGENT } from './priority.js';
export { isEnded, type NamedProcess, namedProcesses, readPagemap } from './process.js';
export { dataRanges, openMappedFile, ProcessMemory, type Ranges } from './process-memory.js';
export { mappingPageSize, mappingsCover } from './procmap.js';
export { sleep as pause } from './ptrace.js';
export { ProcessStopper } from './stop.js';
export { TrackerMark } from './tracker-mark.js';
