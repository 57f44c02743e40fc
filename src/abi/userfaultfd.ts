/** userfaultfd's uapi (linux/userfaultfd.h), as far as write protection needs it. */
import { ioctlRead, ioctlReadWrite } from './ioctl.js';
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

export const UFFDIO_REGISTER_MODE_MISSING = 1 << 0;
export const UFFDIO_REGISTER_MODE_WP = 1 << 1;
export const UFFDIO_REGISTER_MODE_MINOR = 1 << 2;

export const UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1;

/** `struct uffdio_api`: the handshake. `features` is what is asked for, and on return what there is. */
export const UFFDIO_API_STRUCT = u64Struct('uffdio_api', ['api', 'features', 'ioctls']);
/** `struct uffdio_range`, bytes. */
export const UFFDIO_RANGE_STRUCT = u64Struct('uffdio_range', ['start', 'len']);
/** `struct uffdio_register`; the range is embedded. */
export const UFFDIO_REGISTER_STRUCT = u64Struct('uffdio_register', ['start', 'len', 'mode', 'ioctls']);
/** `struct uffdio_writeprotect`; the range is embedded. */
export const UFFDIO_WRITEPROTECT_STRUCT = u64Struct('uffdio_writeprotect', ['start', 'len', 'mode']);

const UFFDIO = '\xaa';

export const UFFDIO_API = ioctlReadWrite(UFFDIO, 0x3f, UFFDIO_API_STRUCT.sizeBytes);
export const UFFDIO_REGISTER = ioctlReadWrite(UFFDIO, 0x00, UFFDIO_REGISTER_STRUCT.sizeBytes);
export const UFFDIO_UNREGISTER = ioctlRead(UFFDIO, 0x01, UFFDIO_RANGE_STRUCT.sizeBytes);
export const UFFDIO_WRITEPROTECT = ioctlReadWrite(UFFDIO, 0x06, UFFDIO_WRITEPROTECT_STRUCT.sizeBytes);
/** On /dev/userfaultfd: gives a new userfaultfd; permission is that of the device file. Linux 6.1. */
export const USERFAULTFD_IOC_NEW = 0xaa00;
