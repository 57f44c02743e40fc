// A target whose mappings come and go as fast as they can, around one that stays.
// Prints "START END" of the one that stays, all of whose pages are written; ends when its input ends.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 3000 };

static void *churn(void *unused) {
	for (unsigned round = 0;; round++) {
		uint64_t size = (1 + round % 50) * 4096;
		char *memory = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED) continue;
		for (uint64_t at = 0; at < size; at += 8192) memory[at] = 1;
		if (round % 3 == 0) mprotect(memory + size / 2 / 4096 * 4096, 4096, PROT_READ);
		munmap(memory, size);
	}
	return unused;
}

int main(void) {
	char *base = mmap(0, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) return 1;
	for (int page = 0; page < PAGES; page++) base[page * 4096] = 1;
	pthread_t thread;
	for (int i = 0; i < 2; i++) pthread_create(&thread, 0, churn, 0);
	printf("%lx %lx\n", (unsigned long)base, (unsigned long)(base + PAGES * 4096));
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0) {
	}
	_exit(0);
}
