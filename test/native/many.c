// many MAPPINGS THREADS: so many mappings (of two kinds in turns, so that they are not joined), each with a page written,
// and so many threads that wait. Says "ready", and waits for the end of its input.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

static void *wait_forever(void *arg) {
	for (;;) pause();
	return arg;
}

int main(int argc, char **argv) {
	long mappings = atol(argv[1]), threads = atol(argv[2]);
	if (argc != 3) return 2;
	char *area = mmap(0, mappings * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long at = 0; at < mappings; at++) area[at * PAGE] = 1 + at % 127;
	for (long at = 0; at < mappings; at += 2)
		if (mprotect(area + at * PAGE, PAGE, PROT_READ)) return 3;
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (long thread = 0; thread < threads; thread++) {
		pthread_t id;
		if (pthread_create(&id, &small, wait_forever, 0)) return 4;
	}
	setvbuf(stdout, 0, _IOLBF, 0);
	printf("%lx\n", (long)area);
	while (getchar() >= 0) {
	}
	return 0;
}
