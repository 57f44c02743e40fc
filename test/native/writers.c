// Threads that write counters into pages as fast as they can, with a short breath after every 64 writes: without it they
// would be done before they were looked at more than once.
//   writers THREADS PAGES WRITES   each thread has PAGES pages of its own and makes WRITES writes; each adds 1 to a counter
// Prints "START END" of the pages, waits for a byte of input, writes, prints "done", waits for the end of its input.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static char *base;
static uint64_t pages, writes;

static void *writer(void *argument) {
	uint64_t thread = (uint64_t)argument;
	uint64_t seed = thread * 0x9e3779b97f4a7c15ull + 1;
	for (uint64_t i = 0; i < writes; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		uint64_t page = thread * pages + (seed >> 33) % pages;
		++*(volatile uint64_t *)(base + page * PAGE + page % 500 * 8);
		if (i % 64 == 63) usleep(1);
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc != 4) return 2;
	uint64_t threads = strtoull(argv[1], 0, 10);
	pages = strtoull(argv[2], 0, 10), writes = strtoull(argv[3], 0, 10);
	base = mmap(0, threads * pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, threads * pages * PAGE, MADV_NOHUGEPAGE);
	printf("%lx %lx\n", (long)base, (long)(base + threads * pages * PAGE));
	fflush(stdout);
	char byte;
	if (read(0, &byte, 1) != 1) return 1;
	pthread_t handles[64];
	for (uint64_t i = 0; i < threads; i++) pthread_create(&handles[i], 0, writer, (void *)i);
	for (uint64_t i = 0; i < threads; i++) pthread_join(handles[i], 0);
	printf("done\n");
	fflush(stdout);
	while (read(0, &byte, 1) > 0) {
	}
	return 0;
}
