// A process to be looked at in the page: a bit of everything, and writes in patterns that can be recognised.
//   scene quiet|busy [MIB [NAME]]
// "known" is 64 pages: 0-15 written, 16-23 only read, 24-31 guard pages (where the kernel has them), the rest untouched. Prints
// "START END" of it in hexadecimal. MIB is the size of a cache, which is full; NAME that of a
// shared mapping. Obeys letters: w  writes pages 4 to 7 of "known".
// busy: writes for ever, to a ring that goes round, to a hot spot, and here and there in the cache.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <pthread.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { PAGE = 4096, MIB = 1 << 20 };
static volatile char sink;

// Between holes of a page, so that neighbours are not joined to one mapping.
static char *map(size_t bytes) {
	char *at = mmap(0, bytes + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) exit(1);
	munmap(at, PAGE);
	munmap(at + PAGE + bytes, PAGE);
	madvise(at + PAGE, bytes, MADV_NOHUGEPAGE);
	return at + PAGE;
}

static char *share(size_t bytes, const char *name) {
	int fd = memfd_create(name, 0);
	if (fd < 0 || ftruncate(fd, bytes) != 0) exit(1);
	char *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) exit(1);
	close(fd);
	return at;
}

static void fill(char *at, size_t bytes) {
	// Not zeros, and no two pages alike: else it would be merged, or compressed to nothing.
	uint64_t seed = 88172645463325252ull;
	for (size_t word = 0; word < bytes / 8; word += 64) {
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		((uint64_t *)at)[word] = seed;
	}
}

static char *ring, *spot, *cache;
static size_t ringBytes = 24 * MIB, spotBytes = 2 * MIB, cacheBytes;

static void *busy(void *unused) {
	(void)unused;
	uint64_t seed = 42, tick = 0;
	for (;; tick++) {
		for (size_t page = 0; page < 24; page++) ring[(tick * 24 + page) * PAGE % ringBytes]++;
		for (int i = 0; i < 200; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			spot[(seed >> 33) % 24 * PAGE]++;
		}
		if (tick % 3 == 0) spot[(40 + tick / 300 % 60) * PAGE]++;
		// A phase of heavy writing to the cache, then one of little.
		int often = tick / 800 % 2 ? 40 : 2;
		for (int i = 0; i < often; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			uint64_t far = (seed >> 33) % (cacheBytes / PAGE), near = (seed >> 20) % (cacheBytes / PAGE / 16);
			cache[(i % 4 ? near : far) * PAGE + 8]++;
		}
		usleep(10000);
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 2) return 2;
	cacheBytes = (argc > 2 ? strtoull(argv[2], 0, 10) : 8) * MIB;
	char *known = map(64 * PAGE);
	for (int page = 0; page < 16; page++) known[page * PAGE] = 1;
	for (int page = 16; page < 24; page++) sink += known[page * PAGE];
	madvise(known + 24 * PAGE, 8 * PAGE, MADV_GUARD_INSTALL);

	cache = map(cacheBytes);
	fill(cache, cacheBytes);
	ring = share(ringBytes, "log ring");
	fill(ring, ringBytes / 2);
	spot = share(spotBytes, "counters");
	char *cold = map(24 * MIB);
	fill(cold, 24 * MIB);
	madvise(cold + 4 * MIB, 12 * MIB, MADV_PAGEOUT);
	char *arena = map(192 * MIB);
	fill(arena, 20 * MIB);
	fill(arena + 64 * MIB, 3 * MIB);
	for (size_t at = 100 * MIB; at < 120 * MIB; at += PAGE) sink += arena[at];
	char *huge = mmap(0, 18 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	huge = (char *)(((uintptr_t)huge + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
	madvise(huge, 16 * MIB, MADV_HUGEPAGE);
	fill(huge, 12 * MIB);
	madvise(huge, 12 * MIB, MADV_COLLAPSE);
	// What others call a mapping is theirs to choose: as a fourth argument, whatever it says.
	fill(share(10 * MIB, argc > 3 ? argv[3] : "results"), 6 * MIB);
	char *heap = malloc(100000);
	for (int block = 0; block < 60; block++) memset(malloc(60000), block, 60000);
	heap[0] = 1;

	printf("%lx %lx\n", (unsigned long)known, (unsigned long)(known + 64 * PAGE));
	fflush(stdout);
	if (strcmp(argv[1], "busy") == 0) {
		pthread_t thread;
		pthread_create(&thread, 0, busy, 0);
	}
	char order;
	while (read(0, &order, 1) > 0) {
		if (order == 'w')
			for (int page = 4; page < 8; page++) known[page * PAGE]++;
	}
	return 0;
}
