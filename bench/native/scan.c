// Times PAGEMAP_SCAN from C, the yardstick of the benchmarks.
//   scan PID START END MASK RETURN CAPACITY REPEATS   prints the nanoseconds of each repeat, a line each, after the
// number of regions on the first line. A repeat scans the whole range, in as many calls as the output needs.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>

struct region {
	uint64_t start, end, categories;
};
struct arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, anyof, ret;
};

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(int argc, char **argv) {
	if (argc != 8) return 2;
	char path[64];
	snprintf(path, sizeof path, "/proc/%s/pagemap", argv[1]);
	int fd = open(path, O_RDONLY);
	if (fd < 0) return 1;
	uint64_t start = strtoull(argv[2], 0, 16), end = strtoull(argv[3], 0, 16);
	uint64_t capacity = strtoull(argv[6], 0, 10), repeats = strtoull(argv[7], 0, 10);
	struct region *vec = calloc(capacity, sizeof *vec);
	uint64_t *times = calloc(repeats, sizeof *times);
	uint64_t regions = 0;
	for (uint64_t r = 0; r < repeats; r++) {
		regions = 0;
		uint64_t before = now();
		for (uint64_t at = start; at < end;) {
			struct arg arg = {.size = sizeof arg, .start = at, .end = end, .vec = (uint64_t)vec, .vec_len = capacity,
			    .mask = strtoull(argv[4], 0, 16), .ret = strtoull(argv[5], 0, 16)};
			long count = ioctl(fd, _IOWR('f', 16, struct arg), &arg);
			if (count < 0) return 1;
			regions += count;
			at = (uint64_t)count < capacity ? end : vec[count - 1].end;
		}
		times[r] = now() - before;
	}
	printf("%lu\n", regions);
	for (uint64_t r = 0; r < repeats; r++) printf("%lu\n", times[r]);
	return 0;
}
