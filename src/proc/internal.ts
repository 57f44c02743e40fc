/** What the other layers use besides what is public. */
export {
  type DescriptorInfo,
  parseFdinfo,
  parseMountKinds,
  parsePins,
  type RingInfo,
} from './fdinfo.js';
export * from './index.js';
export { mappingMatcher, matchesGlob } from './name-pattern.js';
export * from './recognise.js';
export { statName, statNumbers, TICKS_PER_SECOND } from './status.js';
export { parseTaskSyscall, type SleepingTask } from './task-syscall.js';
export { decodeName } from './text.js';
