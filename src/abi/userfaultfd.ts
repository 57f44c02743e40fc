/** userfaultfd's uapi (linux/userfaultfd.h), as far as write protection and read-write protection need it. */
import { ioctlRead, ioctlReadWrite, ioctlWrite } from './ioctl.js';
import { u64Struct } from './layout.js';

export const UFFD_API = 0xaa;

/** Flag of userfaultfd(2): handles only faults from user mode, which unprivileged users may ask for. Linux 5.11. */
export const UFFD_USER_MODE_ONLY = 1;

/** Write-protection faults on anonymous memory. Linux 5.7. */
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 1 << 0;
/** Write protection on shared memory and hugetlb. Linux 5.19. */
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 1 << 12;
/** Pages that are not populated can be protected too. Linux 6.4. */
export const UFFD_FEATURE_WP_UNPOPULATED = 1 << 13;
/** The kernel resolves write-protection faults by itself, without a message. Linux 6.7. */
export const UFFD_FEATURE_WP_ASYNC = 1 << 15;
/** Read-write protection: the next access to a protected page faults. Linux 7.3. */
export const UFFD_FEATURE_RWP = 1 << 17;
/** The kernel resolves read-write-protection faults by itself. Without it every access waits for a handler. Linux 7.3. */
export const UFFD_FEATURE_RWP_ASYNC = 1 << 18;

export const UFFDIO_REGISTER_MODE_MISSING = 1 << 0;
export const UFFDIO_REGISTER_MODE_WP = 1 << 1;
export const UFFDIO_REGISTER_MODE_MINOR = 1 << 2;
/** Linux 7.3; not together with WP. */
export const UFFDIO_REGISTER_MODE_RWP = 1 << 3;

export const UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1;

export const UFFDIO_RWPROTECT_MODE_RWP = 1 << 0;
export const UFFDIO_RWPROTECT_MODE_DONTWAKE = 1 << 1;

/**
 * `struct uffdio_api`: the handshake. `features` holds the requested features, and on return those that the
 * kernel has.
 */
export const UFFDIO_API_STRUCT = u64Struct('uffdio_api', ['api', 'features', 'ioctls']);
/** `struct uffdio_range`, bytes. */
export const UFFDIO_RANGE_STRUCT = u64Struct('uffdio_range', ['start', 'len']);
/** `struct uffdio_register`; the range is embedded. */
export const UFFDIO_REGISTER_STRUCT = u64Struct('uffdio_register', ['start', 'len', 'mode', 'ioctls']);
/** `struct uffdio_writeprotect`; the range is embedded. */
export const UFFDIO_WRITEPROTECT_STRUCT = u64Struct('uffdio_writeprotect', ['start', 'len', 'mode']);
/** `struct uffdio_rwprotect`; the range is embedded. Linux 7.3. */
export const UFFDIO_RWPROTECT_STRUCT = u64Struct('uffdio_rwprotect', ['start', 'len', 'mode']);
/** `struct uffdio_set_mode`: features to turn on and off. Linux 7.3. */
export const UFFDIO_SET_MODE_STRUCT = u64Struct('uffdio_set_mode', ['enable', 'disable']);

const UFFDIO = '\xaa';

export const UFFDIO_API = ioctlReadWrite(UFFDIO, 0x3f, UFFDIO_API_STRUCT.sizeBytes);
export const UFFDIO_REGISTER = ioctlReadWrite(UFFDIO, 0x00, UFFDIO_REGISTER_STRUCT.sizeBytes);
export const UFFDIO_UNREGISTER = ioctlRead(UFFDIO, 0x01, UFFDIO_RANGE_STRUCT.sizeBytes);
export const UFFDIO_WRITEPROTECT = ioctlReadWrite(UFFDIO, 0x06, UFFDIO_WRITEPROTECT_STRUCT.sizeBytes);
export const UFFDIO_RWPROTECT = ioctlReadWrite(UFFDIO, 0x09, UFFDIO_RWPROTECT_STRUCT.sizeBytes);
export const UFFDIO_SET_MODE = ioctlWrite(UFFDIO, 0x0a, UFFDIO_SET_MODE_STRUCT.sizeBytes);
/** On /dev/userfaultfd: gives a new userfaultfd; permission is that of the device file. Linux 6.1. */
export const USERFAULTFD_IOC_NEW = 0xaa00;
