// The least that tracking costs a process: protects its memory once, and gives it back.
//   give-back START END (hexadecimal)
// Descriptor 3 is a userfaultfd of that process, without features so far. Protects, prints the milliseconds that it took; at the end of its
// input closes the descriptor, which gives all of it back, and prints the milliseconds of that.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
	if (argc != 3) return 2;
	uint64_t start = strtoul(argv[1], 0, 16), end = strtoul(argv[2], 0, 16);
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED};
	if (ioctl(3, UFFDIO_API, &api)) return perror("UFFDIO_API"), 1;
	double before = now();
	struct uffdio_register registered = {.range = {start, end - start}, .mode = UFFDIO_REGISTER_MODE_WP};
	if (ioctl(3, UFFDIO_REGISTER, &registered)) return perror("UFFDIO_REGISTER"), 1;
	struct uffdio_writeprotect protect = {.range = {start, end - start}, .mode = UFFDIO_WRITEPROTECT_MODE_WP};
	if (ioctl(3, UFFDIO_WRITEPROTECT, &protect)) return perror("UFFDIO_WRITEPROTECT"), 1;
	printf("%.3f\n", now() - before);
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0) {
	}
	before = now();
	close(3);
	printf("%.3f\n", now() - before);
	return 0;
}
