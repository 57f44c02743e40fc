/** What the other layers use besides what is public. */
export { Attacher, type Attachment, attachProblem, attachUserfaultfd } from './attach.js';
export { DescriptorSearch, mountKinds, type OpenDescriptor, openDescriptors } from './descriptors.js';
export { fallbackKnowledge, type Knowledge, softDirtyMissing } from './fallback/knowledge.js';
export { linkDescriptor, punchHole } from './files.js';
export { type Freezer, freezerOf } from './frozen.js';
export { holesAreWritten } from './holes.js';
export * from './index.js';
export { libc } from './libc.js';
export { lockFile } from './lock.js';
export { createMemoryFile } from './memory.js';
export { DISABLE_VARIABLE, ioctlDisabled, PROVIDER_VARIABLE } from './pagemap.js';
export { allowTracing, hiddenHint, onlyAncestorsTrace, replaceProgram } from './permission.js';
export { countLongPins, countPins, type PinCount } from './pins.js';
export { isEnded } from './process.js';
export { dataRanges, openMappedFile, ProcessMemory, type Ranges } from './process-memory.js';
export { mappingPageSize, mappingsCover } from './procmap.js';
export { sleep as pause } from './ptrace.js';
export { ProcessStopper } from './stop.js';
