export * from './address-space.js';
export { MemoryFile } from './memory.js';
export {
  KERNEL_PROFILES,
  type KernelProfile,
  type KernelProfileName,
  kernelProfile,
  profileFor,
} from './profiles.js';
export type { UserfaultMode } from './vma.js';
