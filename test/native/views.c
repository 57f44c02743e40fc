// Shared memory that one process maps several times: a memfd of MIB MiB three times, of which it keeps the descriptor, as garbage
// collectors do, and as much of /dev/zero (MAP_SHARED | MAP_ANONYMOUS) twice. Each page has its number. Writes the addresses of all
// five, in that order. At SIGUSR1, page 1 of both is written by way of the last mapping, and page 2 of the memfd by its descriptor:
// the number is 77 then. At SIGUSR2, the second mapping of the memfd is replaced by memory of another one, all 5. Writes a line
// after each. Waits for its input to end.
//   views MIB
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };
static size_t bytes;
static int fd;
static char *at[5];

static char *map(int file, void *address) {
	int flags = MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0) | (address ? MAP_FIXED : 0);
	char *memory = mmap(address, bytes, PROT_READ | PROT_WRITE, flags, file, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return memory;
}

static int make(void) {
	int file = memfd_create("java_heap", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, bytes) != 0) {
		perror("memfd");
		exit(1);
	}
	return file;
}

static void on_signal(int number) {
	int value = 77;
	if (number == SIGUSR1) {
		*(volatile int *)(at[2] + PAGE) = value;
		*(volatile int *)(at[4] + PAGE) = value;
		if (pwrite(fd, &value, sizeof value, 2 * PAGE) != sizeof value) _exit(1);
	} else {
		map(make(), at[1]);
		for (size_t page = 0; page < bytes; page += PAGE) *(int *)(at[1] + page) = 5;
	}
	if (write(1, "x\n", 2) != 2) _exit(1);
}

int main(int count, char **words) {
	bytes = strtoul(words[count - 1], 0, 10) << 20;
	fd = make();
	for (int view = 0; view < 3; view++) at[view] = map(fd, 0);
	at[3] = map(-1, 0);
	at[4] = mremap(at[3], 0, bytes, MREMAP_MAYMOVE);
	if (at[4] == MAP_FAILED) {
		perror("mremap");
		return 1;
	}
	for (size_t page = 0; page < bytes / PAGE; page++)
		*(int *)(at[0] + page * PAGE) = *(int *)(at[3] + page * PAGE) = (int)page;
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	for (int view = 0; view < 5; view++) printf("%lx ", (unsigned long)at[view]);
	puts("");
	fflush(stdout);
	while (getchar() != EOF || !feof(stdin)) clearerr(stdin);
	return 0;
}
