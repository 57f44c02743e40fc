// A target whose memory tells whether a copy of it is torn:
//   torn MEBIBYTES WRITERS PAGES_PER_SECOND [KINDS]
// Each writer has its share of the memory, and a counter. A step picks a pair of pages and a number, one more than the last,
// and writes it to the first page, to the second page and to the writer's own page, in this order. So in memory as it was at
// one moment, of each writer: its own page has the highest number n; of the pair with n, both pages have it; of the pair
// with n + 1, if it was begun, the first may have it; no page has a number above that, and of every other pair both are
// equal. Pairs are half the share apart, so that a copy that takes time tears them.
//
// A heartbeat thread, on an own page, measures the longest time between two of its beats since it was asked, microseconds.
// PAGES_PER_SECOND 0: as fast as it goes. With KINDS (any of: d discards, m maps and unmaps, t threads come and go), a
// further thread does that all the time.
//
// Prints "START END PAGES_OF_A_SHARE" (hexadecimal, decimal), then answers each line of input with the longest gap.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096 };
static char *memory;
static size_t pages, share;
static int writers;
static double rate;
static _Atomic uint64_t longest;

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void put(size_t page, uint64_t value) { *(volatile uint64_t *)(memory + page * PAGE) = value; }

static void *write_pairs(void *arg) {
	size_t base = (size_t)arg * share, pairs = (share - 1) / 2;
	uint64_t random = (size_t)arg * 2654435761u + 1, number = 0, begin = now();
	for (;;) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		size_t first = base + 1 + (random >> 33) % pairs;
		number++;
		put(first, number);
		atomic_signal_fence(memory_order_seq_cst);
		put(first + pairs, number);
		atomic_signal_fence(memory_order_seq_cst);
		put(base, number);
		if (rate == 0) continue;
		// Two new pages a step, the own one not counted.
		uint64_t due = begin + (uint64_t)(number * 2 * writers / rate * 1e9), at = now();
		if (due > at + 200000) {
			struct timespec pause = {0, (due - at) % 1000000000};
			nanosleep(&pause, 0);
		}
	}
	return 0;
}

static void *beat(void *arg) {
	(void)arg;
	uint64_t last = now();
	for (;;) {
		struct timespec pause = {0, 200000};
		nanosleep(&pause, 0);
		uint64_t at = now(), gap = at - last;
		if (gap > atomic_load(&longest)) atomic_store(&longest, gap);
		last = at;
	}
	return 0;
}

static void *discard(void *arg) {
	(void)arg;
	size_t bytes = 64 * PAGE;
	char *area = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (;;) {
		memset(area, 0x5a, bytes);
		madvise(area, bytes, MADV_DONTNEED);
		usleep(300);
	}
	return 0;
}

static void *remap(void *arg) {
	(void)arg;
	for (unsigned turn = 0;; turn++) {
		size_t bytes = (1 + turn % 50) * PAGE;
		char *area = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(area, turn, bytes);
		char *moved = mremap(area, bytes, bytes + 8 * PAGE, MREMAP_MAYMOVE);
		mprotect(moved, PAGE, PROT_READ);
		usleep(50);
		munmap(moved, bytes + 8 * PAGE);
	}
	return 0;
}

static void *nothing(void *arg) { return arg; }

static void *breed(void *arg) {
	(void)arg;
	for (;;) {
		pthread_t thread;
		if (!pthread_create(&thread, 0, nothing, 0)) pthread_join(thread, 0);
		usleep(100);
	}
	return 0;
}

static void start(void *(*work)(void *), void *arg) {
	pthread_t thread;
	if (pthread_create(&thread, 0, work, arg)) _exit(3);
}

int main(int argc, char **argv) {
	pages = strtoul(argv[1], 0, 10) * 256;
	writers = atoi(argv[2]);
	rate = atof(argv[3]);
	share = pages / writers;
	memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	madvise(memory, pages * PAGE, MADV_NOHUGEPAGE);
	// All bytes but the number are noise.
	uint64_t random = 1;
	for (size_t at = 0; at < pages * PAGE; at += 8) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		*(uint64_t *)(memory + at) = at % PAGE ? random : 0;
	}
	for (int writer = 0; writer < writers; writer++) start(write_pairs, (void *)(size_t)writer);
	start(beat, 0);
	for (const char *kind = argc > 4 ? argv[4] : ""; *kind; kind++)
		start(*kind == 'd' ? discard : *kind == 'm' ? remap : breed, 0);
	usleep(100000);
	setvbuf(stdout, 0, _IOLBF, 0);
	printf("%lx %lx %zu\n", (long)memory, (long)(memory + pages * PAGE), share);
	char line[16];
	while (fgets(line, sizeof line, stdin)) printf("%lu\n", (unsigned long)(atomic_exchange(&longest, 0) / 1000));
	return 0;
}
