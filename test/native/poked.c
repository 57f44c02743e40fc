// A target that lies still, and changes a byte of its memory when it is told to:
//   poked MEBIBYTES THREADS
// Every third page of its memory is there, with the page's number in it; a shared mapping and some threads that wait are, too.
// Prints "START END" (hexadecimal), then reads lines "OFFSET VALUE", writes the byte there, and answers each with a line.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void *wait_for_ever(void *arg) {
	for (;;) pause();
	return arg;
}

int main(int argc, char **argv) {
	size_t bytes = argc > 1 ? strtoul(argv[1], 0, 10) << 20 : 4 << 20;
	char *memory = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(0, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || shared == MAP_FAILED) return 1;
	madvise(memory, bytes, MADV_NOHUGEPAGE);
	for (size_t page = 0; page < bytes / PAGE; page += 3) *(size_t *)(memory + page * PAGE) = page + 1;
	shared[5 * PAGE] = 5;
	for (int threads = argc > 2 ? atoi(argv[2]) : 0; threads > 0; threads--) {
		pthread_t thread;
		if (pthread_create(&thread, 0, wait_for_ever, 0)) return 1;
	}
	setvbuf(stdout, 0, _IOLBF, 0);
	printf("%lx %lx\n", (long)memory, (long)(memory + bytes));
	size_t offset;
	unsigned value;
	while (scanf("%zu %u", &offset, &value) == 2) {
		memory[offset] = (char)value;
		puts("done");
	}
	return 0;
}
