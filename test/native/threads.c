// threads THREADS: threads with memory of their own from malloc, of which the first runs and the others wait. Prints what is true of them,
// one fact a line, addresses in hexadecimal:
//   thread TID START END     a thread's stack, by pthread_getattr_np
//   block START END          a large block of malloc
//   arena BYTES              what malloc_info says is accessible of an arena that is not the main one
//   bss START END            an array without values in the program's file
//   end
// Then it waits for the end of its input.
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char values[1 << 20];
static pthread_barrier_t ready;
static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
static atomic_int over;

static void *work(void *arg) {
	long number = (long)arg;
	char name[16];
	snprintf(name, sizeof name, number == 1 ? "odd\033[31m\n%ld" : "worker %ld", number);
	pthread_setname_np(pthread_self(), name);
	pthread_attr_t attributes;
	void *start;
	size_t bytes;
	if (pthread_getattr_np(pthread_self(), &attributes)) exit(3);
	pthread_attr_getstack(&attributes, &start, &bytes);
	char *volatile small[100];
	for (int at = 0; at < 100; at++) memset(small[at] = malloc(20000), 1, 20000);
	pthread_mutex_lock(&printing);
	printf("thread %ld %lx %lx\n", syscall(SYS_gettid), (long)start, (long)start + bytes);
	pthread_mutex_unlock(&printing);
	pthread_barrier_wait(&ready);
	while (number == 0 && !over) {
	}
	for (;;) pause();
}

int main(int argc, char **argv) {
	long threads = argc > 1 ? atol(argv[1]) : 1;
	setvbuf(stdout, 0, _IOLBF, 0);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	pthread_barrier_init(&ready, 0, threads + 1);
	for (long number = 0; number < threads; number++) {
		pthread_t id;
		if (pthread_create(&id, 0, work, (void *)number)) return 2;
	}
	pthread_barrier_wait(&ready);
	memset(values, 1, sizeof values);
	printf("bss %lx %lx\n", (long)values, (long)values + sizeof values);
	for (long bytes = 3 << 20; bytes < 8 << 20; bytes += (1 << 20) + 12345) {
		char *block = malloc(bytes);
		memset(block, 1, bytes);
		printf("block %lx %lx\n", (long)block, (long)block + bytes);
	}
	char *aligned;
	if (posix_memalign((void **)&aligned, 4096, 5 << 20)) return 2;
	memset(aligned, 1, 5 << 20);
	printf("block %lx %lx\n", (long)aligned, (long)aligned + (5 << 20));
	char *text;
	size_t length;
	FILE *memory = open_memstream(&text, &length);
	malloc_info(0, memory);
	fclose(memory);
	char *at = strstr(text, "<heap nr=\"0\">");
	while (at && (at = strstr(at + 1, "<heap nr="))) {
		char *size = strstr(at, "<aspace type=\"mprotect\" size=\"");
		if (size) printf("arena %s\n", strtok(strdup(size + 30), "\""));
	}
	printf("end\n");
	while (getchar() >= 0) {
	}
	over = 1;
	return 0;
}
