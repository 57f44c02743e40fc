/** PROCMAP_QUERY on /proc/PID/maps: one mapping without the text (linux/fs.h, Linux 6.11). */
import { ioctlReadWrite } from './ioctl.js';

/**
 * `struct procmap_query`, as far as it is used here: byte offsets of its u64 fields. Behind them come two u32 of device
 * number, two u32 of sizes and two u64 pointers, all left 0.
 */
export const PROCMAP_QUERY_STRUCT = {
  sizeBytes: 104,
  offset: {
    size: 0,
    query_flags: 8,
    query_addr: 16,
    vma_start: 24,
    vma_end: 32,
    vma_flags: 40,
    vma_page_size: 48,
  },
} as const;

/** `_IOWR('f', 17, struct procmap_query)`. */
export const PROCMAP_QUERY = ioctlReadWrite('f', 17, PROCMAP_QUERY_STRUCT.sizeBytes);
/** The mapping at the address or, if none is there, the next one above. */
export const PROCMAP_QUERY_COVERING_OR_NEXT_VMA = 0x10;
