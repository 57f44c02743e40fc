// Threads that touch each of their pages once a round, in an order of their own; half of them by reading, half by writing.
//   toucher THREADS PAGES   each thread has PAGES pages of its own
// Prints "START END" of the pages. For each byte of input all threads make one round; then it prints "done".
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static char *base;
static uint64_t pages, threads;
static pthread_barrier_t begin, end;

static void *touch(void *argument) {
	uint64_t thread = (uint64_t)argument;
	// A step that has no factor in common with the number of pages comes to each of them once.
	uint64_t step = pages / 3 * 2 + 1;
	for (uint64_t round = 0;; round++) {
		pthread_barrier_wait(&begin);
		for (uint64_t i = 0; i < pages; i++) {
			volatile char *page = base + (thread * pages + (i * step + round) % pages) * PAGE;
			if ((i + round) % 2) *page = (char)round;
			else (void)*page;
		}
		pthread_barrier_wait(&end);
	}
	return 0;
}

int main(int argc, char **argv) {
	if (argc != 3) return 2;
	threads = strtoull(argv[1], 0, 10), pages = strtoull(argv[2], 0, 10);
	base = mmap(0, threads * pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, threads * pages * PAGE, MADV_NOHUGEPAGE);
	for (uint64_t page = 0; page < threads * pages; page++) base[page * PAGE] = 1;
	pthread_barrier_init(&begin, 0, threads + 1);
	pthread_barrier_init(&end, 0, threads + 1);
	pthread_t handle;
	for (uint64_t i = 0; i < threads; i++) pthread_create(&handle, 0, touch, (void *)i);
	printf("%lx %lx\n", (long)base, (long)(base + threads * pages * PAGE));
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) == 1) {
		pthread_barrier_wait(&begin);
		pthread_barrier_wait(&end);
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}
