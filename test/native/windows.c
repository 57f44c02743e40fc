// Memory whose places in a core file are given in another order than its addresses: 192 MiB at 0x200000000000, of which the
// second 64 MiB have pages first. SIGUSR1: the page before those is written, and 16 MiB at 0x300000000000. SIGUSR2: that page
// and the first 8 MiB of the second part are discarded. Writes a byte when it is ready, and after each of both.
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20, PART = 64 * MIB };
static char *memory;

static char *map(unsigned long address, size_t bytes) {
	char *at = mmap((void *)address, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (at == MAP_FAILED) _exit(1);
	madvise(at, bytes, MADV_NOHUGEPAGE);
	return at;
}

static void on_signal(int number) {
	if (number == SIGUSR1) {
		memset(memory + PART - PAGE, 2, PAGE);
		memset(map(0x300000000000, 16 * MIB), 3, 16 * MIB);
	} else {
		madvise(memory + PART - PAGE, PAGE + 8 * MIB, MADV_DONTNEED);
	}
	if (write(1, "x", 1) != 1) _exit(1);
}

int main(void) {
	memory = map(0x200000000000, 3ul * PART);
	memset(memory + PART, 1, 16 * MIB);
	signal(SIGUSR1, on_signal);
	signal(SIGUSR2, on_signal);
	if (write(1, "x", 1) != 1) return 1;
	for (;;) pause();
}
