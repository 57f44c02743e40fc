// Prints what the system's headers and this compiler make of the interface, as JSON. What older headers do not have
// yet is left out; the layout of PAGEMAP_SCAN's structs is then that of this file's own declarations.
#define _GNU_SOURCE
#include <asm/unistd.h>
#include <errno.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>

#ifndef PAGEMAP_SCAN
struct page_region {
	uint64_t start, end, categories;
};
struct pm_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define PAGEMAP_SCAN _IOWR('f', 16, struct pm_scan_arg)
#define OWN_DECLARATION 1
#else
#define OWN_DECLARATION 0
#endif

#define VALUE(name) printf(",\n\"%s\":%llu", #name, (unsigned long long)(name))
#define OFFSET(type, field) printf(",\n\"%s.%s\":%zu", #type, #field, offsetof(struct type, field))
#define SIZE(type) printf(",\n\"sizeof %s\":%zu", #type, sizeof(struct type))

int main(void) {
	printf("{\n\"own_declaration\":%d", OWN_DECLARATION);
	VALUE(PAGEMAP_SCAN);
	SIZE(pm_scan_arg);
	OFFSET(pm_scan_arg, size); OFFSET(pm_scan_arg, flags); OFFSET(pm_scan_arg, start); OFFSET(pm_scan_arg, end);
	OFFSET(pm_scan_arg, walk_end); OFFSET(pm_scan_arg, vec); OFFSET(pm_scan_arg, vec_len);
	OFFSET(pm_scan_arg, max_pages); OFFSET(pm_scan_arg, category_inverted); OFFSET(pm_scan_arg, category_mask);
	OFFSET(pm_scan_arg, category_anyof_mask); OFFSET(pm_scan_arg, return_mask);
	SIZE(page_region);
	OFFSET(page_region, start); OFFSET(page_region, end); OFFSET(page_region, categories);
#ifdef PAGE_IS_WPALLOWED
	VALUE(PAGE_IS_WPALLOWED); VALUE(PAGE_IS_WRITTEN); VALUE(PAGE_IS_FILE); VALUE(PAGE_IS_PRESENT);
	VALUE(PAGE_IS_SWAPPED); VALUE(PAGE_IS_PFNZERO); VALUE(PAGE_IS_HUGE);
	VALUE(PM_SCAN_WP_MATCHING); VALUE(PM_SCAN_CHECK_WPASYNC);
#endif
#ifdef PAGE_IS_SOFT_DIRTY
	VALUE(PAGE_IS_SOFT_DIRTY);
#endif
#ifdef PAGE_IS_GUARD
	VALUE(PAGE_IS_GUARD);
#endif
#ifdef PAGE_IS_ACCESSED
	VALUE(PAGE_IS_ACCESSED);
#endif
	SIZE(uffdio_api); OFFSET(uffdio_api, api); OFFSET(uffdio_api, features); OFFSET(uffdio_api, ioctls);
	SIZE(uffdio_range); OFFSET(uffdio_range, start); OFFSET(uffdio_range, len);
	SIZE(uffdio_register); OFFSET(uffdio_register, mode); OFFSET(uffdio_register, ioctls);
	SIZE(uffdio_writeprotect); OFFSET(uffdio_writeprotect, mode);
	VALUE(UFFD_API); VALUE(UFFDIO_API); VALUE(UFFDIO_REGISTER); VALUE(UFFDIO_UNREGISTER); VALUE(UFFDIO_WRITEPROTECT);
	VALUE(UFFDIO_REGISTER_MODE_MISSING); VALUE(UFFDIO_REGISTER_MODE_WP); VALUE(UFFDIO_REGISTER_MODE_MINOR);
	VALUE(UFFDIO_WRITEPROTECT_MODE_WP); VALUE(UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
	VALUE(UFFD_USER_MODE_ONLY); VALUE(UFFD_FEATURE_PAGEFAULT_FLAG_WP); VALUE(UFFD_FEATURE_WP_HUGETLBFS_SHMEM);
#ifdef USERFAULTFD_IOC_NEW
	VALUE(USERFAULTFD_IOC_NEW);
#endif
#ifdef UFFD_FEATURE_WP_UNPOPULATED
	VALUE(UFFD_FEATURE_WP_UNPOPULATED);
#endif
#ifdef UFFD_FEATURE_WP_ASYNC
	VALUE(UFFD_FEATURE_WP_ASYNC);
#endif
#ifdef UFFD_FEATURE_RWP
	VALUE(UFFD_FEATURE_RWP); VALUE(UFFD_FEATURE_RWP_ASYNC); VALUE(UFFDIO_REGISTER_MODE_RWP);
	VALUE(UFFDIO_RWPROTECT); VALUE(UFFDIO_RWPROTECT_MODE_RWP); VALUE(UFFDIO_RWPROTECT_MODE_DONTWAKE);
	VALUE(UFFDIO_SET_MODE);
	SIZE(uffdio_rwprotect); OFFSET(uffdio_rwprotect, mode);
	SIZE(uffdio_set_mode); OFFSET(uffdio_set_mode, enable); OFFSET(uffdio_set_mode, disable);
#endif
	VALUE(PROT_NONE); VALUE(PROT_READ); VALUE(PROT_WRITE); VALUE(PROT_EXEC);
	VALUE(MAP_SHARED); VALUE(MAP_PRIVATE); VALUE(MAP_FIXED); VALUE(MAP_ANONYMOUS); VALUE(MAP_NORESERVE);
	VALUE(MAP_POPULATE); VALUE(MAP_HUGETLB); VALUE(MAP_FIXED_NOREPLACE); VALUE(MAP_HUGE_SHIFT);
	VALUE(MADV_NORMAL); VALUE(MADV_DONTNEED); VALUE(MADV_FREE); VALUE(MADV_REMOVE); VALUE(MADV_HUGEPAGE);
	VALUE(MADV_NOHUGEPAGE);
#ifdef MADV_COLD
	VALUE(MADV_COLD); VALUE(MADV_PAGEOUT);
#endif
#ifdef MADV_POPULATE_READ
	VALUE(MADV_POPULATE_READ); VALUE(MADV_POPULATE_WRITE);
#endif
#ifdef MADV_COLLAPSE
	VALUE(MADV_COLLAPSE);
#endif
#ifdef MADV_GUARD_INSTALL
	VALUE(MADV_GUARD_INSTALL); VALUE(MADV_GUARD_REMOVE);
#endif
	VALUE(MFD_CLOEXEC); VALUE(MFD_HUGETLB);
	VALUE(__NR_ptrace); VALUE(__NR_process_vm_readv); VALUE(__NR_memfd_create); VALUE(__NR_userfaultfd);
	VALUE(__NR_pidfd_open); VALUE(__NR_pidfd_getfd); VALUE(__NR_close); VALUE(__NR_fcntl); VALUE(__NR_clone); VALUE(__NR_clone3); VALUE(__NR_lseek); VALUE(__NR_linkat);
	VALUE(__NR_fallocate); VALUE(__NR_wait4); VALUE(__NR_waitid); VALUE(__NR_flock); VALUE(__NR_prctl); VALUE(__NR_preadv); VALUE(__NR_pwritev);
#ifdef __NR_vfork
	VALUE(__NR_vfork);
#endif
	VALUE(PTRACE_SEIZE); VALUE(PTRACE_INTERRUPT); VALUE(PTRACE_DETACH);
	printf("\n}\n");
	return 0;
}
