// Write tracking's yardstick and target: MIB of memory, all of it present in small pages. For each byte of input it writes
// every 101st page (from another one each time) and answers with a line.
//   track target MIB           answers "0"
//   track all|existing MIB     tracks itself with the bare ioctl, and answers with the nanoseconds that getting and
//                              protecting took: "all" by the kernel's fast path (WRITTEN only), "existing" by the masks
//                              that leave alone what does not exist
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, CAPACITY = 8192, WRITTEN = 2, PRESENT = 8, SWAPPED = 16, PFNZERO = 32, GUARD = 256 };
struct region {
	uint64_t start, end, categories;
};
struct arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, ret;
};
static struct region vec[CAPACITY];

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t collect(int fd, uint64_t start, uint64_t end, int existing, uint64_t *pages) {
	uint64_t without = PFNZERO | GUARD, before = now();
	*pages = 0;
	for (uint64_t at = start; at < end;) {
		struct arg arg = {.size = sizeof arg, .flags = 3, .start = at, .end = end, .vec = (uint64_t)vec, .vec_len = CAPACITY,
		    .mask = WRITTEN, .ret = WRITTEN};
		if (existing) arg.inverted = without, arg.mask |= without, arg.anyof = PRESENT | SWAPPED;
		long count = ioctl(fd, _IOWR('f', 16, struct arg), &arg);
		if (count < 0) exit(3);
		for (long i = 0; i < count; i++) *pages += (vec[i].end - vec[i].start) / PAGE;
		at = count < CAPACITY ? end : vec[count - 1].end;
	}
	return now() - before;
}

int main(int argc, char **argv) {
	if (argc != 3) return 2;
	int self = strcmp(argv[1], "target") != 0, existing = !strcmp(argv[1], "existing"), fd = -1;
	uint64_t bytes = strtoull(argv[2], 0, 10) << 20, pages;
	char *base = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, bytes, MADV_NOHUGEPAGE);
	for (uint64_t at = 0; at < bytes; at += PAGE) base[at] = 1;
	uint64_t start = (uint64_t)base, end = start + bytes;
	if (self) {
		fd = open("/proc/self/pagemap", O_RDONLY);
		int faults = syscall(SYS_userfaultfd, O_CLOEXEC | 1);
		// WP_HUGETLBFS_SHMEM, WP_UNPOPULATED, WP_ASYNC
		struct uffdio_api api = {.api = UFFD_API, .features = 1 << 12 | 1 << 13 | 1 << 15};
		struct uffdio_register range = {{start, bytes}, UFFDIO_REGISTER_MODE_WP, 0};
		if (fd < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &range)) return 1;
		collect(fd, start, end, existing, &pages);
	}
	printf("%lx %lx\n", start, end);
	fflush(stdout);
	char byte;
	for (uint64_t round = 0; read(0, &byte, 1) > 0; round++) {
		for (uint64_t page = round % 101; page < bytes / PAGE; page += 101) base[page * PAGE]++;
		uint64_t took = self ? collect(fd, start, end, existing, &pages) : 0;
		printf("%lu %lu\n", took, self ? pages : 0);
		fflush(stdout);
	}
	return 0;
}
