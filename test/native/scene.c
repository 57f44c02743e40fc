// A process to be looked at in the page: a bit of everything, and writes in patterns that can be recognised.
//   scene quiet|busy [MIB]
// "known" is 64 pages: 0-15 written, 16-23 only read, 24-31 guard pages (where the kernel has them), the rest untouched. Prints
// "START END" of it in hexadecimal. MIB is the size of "cache", which is full. Obeys letters: w  writes pages 4 to 7 of "known".
// busy: writes for ever, to a ring that goes round, to a hot spot, and here and there in the cache.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <pthread.h>
#include <unistd.h>

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum { PAGE = 4096, MIB = 1 << 20 };
static volatile char sink;

static char *map(size_t bytes, const char *name) {
	char *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) exit(1);
	madvise(at, bytes, MADV_NOHUGEPAGE);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, bytes, name);
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
		if (tick % 3 == 0) spot[(200 + tick / 300 % 200) * PAGE]++;
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
	char *known = map(64 * PAGE, "known");
	for (int page = 0; page < 16; page++) known[page * PAGE] = 1;
	for (int page = 16; page < 24; page++) sink += known[page * PAGE];
	madvise(known + 24 * PAGE, 8 * PAGE, MADV_GUARD_INSTALL);

	cache = map(cacheBytes, "cache");
	fill(cache, cacheBytes);
	ring = map(ringBytes, "log ring");
	fill(ring, ringBytes / 2);
	spot = map(spotBytes, "counters");
	char *cold = map(24 * MIB, "cold data");
	fill(cold, 24 * MIB);
	madvise(cold + 4 * MIB, 12 * MIB, MADV_PAGEOUT);
	char *arena = map(192 * MIB, "reserved arena");
	fill(arena, 20 * MIB);
	fill(arena + 64 * MIB, 3 * MIB);
	for (size_t at = 100 * MIB; at < 120 * MIB; at += PAGE) sink += arena[at];
	char *huge = mmap(0, 18 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	huge = (char *)(((uintptr_t)huge + 2 * MIB - 1) & ~(uintptr_t)(2 * MIB - 1));
	madvise(huge, 16 * MIB, MADV_HUGEPAGE);
	fill(huge, 12 * MIB);
	madvise(huge, 12 * MIB, MADV_COLLAPSE);
	prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, huge, 16 * MIB, "huge table");
	int shared = memfd_create("results", 0);
	if (ftruncate(shared, 10 * MIB) != 0) return 1;
	char *results = mmap(0, 10 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
	fill(results, 6 * MIB);
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
