// The reference: PAGEMAP_SCAN from C, nothing between it and the kernel.
//   scan PID START END INVERTED MASK ANYOF RETURN   prints "start end categories" in hexadecimal, a line a region
// Resumes where the output filled up; ranges are printed as the kernel gave them.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

struct page_region_ref {
	uint64_t start, end, categories;
};
struct pm_scan_arg_ref {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, ret;
};

enum { CAPACITY = 1 << 16 };
static struct page_region_ref vec[CAPACITY];

int main(int argc, char **argv) {
	if (argc != 8) {
		fprintf(stderr, "usage: scan PID START END INVERTED MASK ANYOF RETURN\n");
		return 2;
	}
	char path[64];
	snprintf(path, sizeof path, "/proc/%s/pagemap", argv[1]);
	int fd = open(path, O_RDONLY);
	if (fd < 0) {
		perror(path);
		return 1;
	}
	uint64_t start = strtoull(argv[2], 0, 16), end = strtoull(argv[3], 0, 16);
	while (start < end) {
		struct pm_scan_arg_ref arg = {
		    .size = sizeof arg,
		    .start = start,
		    .end = end,
		    .vec = (uint64_t)vec,
		    .vec_len = CAPACITY,
		    .inverted = strtoull(argv[4], 0, 16),
		    .mask = strtoull(argv[5], 0, 16),
		    .anyof = strtoull(argv[6], 0, 16),
		    .ret = strtoull(argv[7], 0, 16),
		};
		long count = ioctl(fd, _IOWR('f', 16, struct pm_scan_arg_ref), &arg);
		if (count < 0) {
			fprintf(stderr, "ioctl: %s\n", strerror(errno));
			return 1;
		}
		for (long i = 0; i < count; i++) {
			printf("%llx %llx %llx\n", (unsigned long long)vec[i].start, (unsigned long long)vec[i].end,
			       (unsigned long long)vec[i].categories);
		}
		if (count < CAPACITY) break;
		start = vec[count - 1].end;
	}
	return 0;
}
