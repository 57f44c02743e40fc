// A sparse giant: TIB TiB of address space reserved without a promise of memory, as sanitizers keep their shadow, of which PAGES
// pages, strewn over all of it, were written; 165 GB without access, as runtimes reserve for heaps; and MIB MiB that are full.
// Writes "START STEP" of the reserved part, bytes: each STEP, a page was written. At SIGUSR1 the second of them is discarded, the page
// behind it is written, and in the end the first one, with 0xee. Waits for its input to end.
//   sparse [TIB] [PAGES] [MIB]
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static unsigned char *shadow;
static size_t step;

static unsigned char *map(size_t bytes, int protection) {
	unsigned char *at = mmap(0, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static void on_signal(int number) {
	madvise(shadow + step, PAGE, MADV_DONTNEED);
	shadow[step + PAGE] = 0xdd;
	*(volatile unsigned char *)shadow = 0xee;
}

int main(int count, char **words) {
	size_t tib = count > 1 ? strtoul(words[1], 0, 10) : 20;
	size_t pages = count > 2 ? strtoul(words[2], 0, 10) : 4096;
	size_t mib = count > 3 ? strtoul(words[3], 0, 10) : 64;
	size_t bytes = tib << 40;
	shadow = map(bytes, PROT_READ | PROT_WRITE);
	madvise(shadow, bytes, MADV_NOHUGEPAGE);
	step = bytes / PAGE / pages * PAGE;
	for (size_t page = 0; page < pages; page++) shadow[page * step] = 1 + page % 255;
	map(165000000000 / PAGE * PAGE, PROT_NONE);
	memset(map(mib << 20, PROT_READ | PROT_WRITE), 7, mib << 20);
	signal(SIGUSR1, on_signal);
	printf("%lx %lx\n", (unsigned long)shadow, (unsigned long)step);
	fflush(stdout);
	while (getchar() != EOF || !feof(stdin)) clearerr(stdin);
	return 0;
}
