/** What the other layers use besides what is public. */
export type { CoreArchitecture } from './architecture.js';
export { readFully } from './copier.js';
export type { DumpHooks } from './dump.js';
export { ElfSink } from './elf-sink.js';
export { CoreFile } from './file.js';
export { Follower, type FollowOptions } from './follower.js';
export * from './index.js';
export { Layout } from './layout.js';
export { programAddresses } from './link-map.js';
export type { StateResult } from './options.js';
export { reservation } from './order.js';
export { PageSet } from './page-set.js';
export { isPrivateFile, isShared, type Planned } from './plan.js';
export { checkCompression } from './send.js';
export type { PageCopier, StateSink, Stored } from './sink.js';
export type { PageSource, ProcessState, StateMapping } from './state.js';
export {
  coreArchitecture,
  coreArchitectureOf,
  type ProcessFacts,
  pointersOf,
  type ThreadState,
} from './threads.js';
export { hasEnded } from './wait.js';
