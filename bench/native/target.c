// A process with a known layout, to be looked at by others.
//   target MAPPINGS MIB STEP   that many mappings, together MIB large, every STEP-th page written
// Prints "START END" in hexadecimal of the range that holds them all, then waits until its input ends.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc != 4) return 2;
	uint64_t mappings = strtoull(argv[1], 0, 10), bytes = strtoull(argv[2], 0, 10) << 20, step = strtoull(argv[3], 0, 10);
	uint64_t each = bytes / mappings / 4096 * 4096;
	char *base = mmap(0, each * mappings, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, each * mappings, MADV_NOHUGEPAGE);
	for (uint64_t at = 0; at < each * mappings; at += 4096 * step) base[at] = 1;
	// Neighbours with different permissions cannot be merged into one mapping.
	for (uint64_t i = 1; i < mappings; i += 2) mprotect(base + i * each, each, PROT_READ);
	printf("%lx %lx\n", (unsigned long)base, (unsigned long)(base + each * mappings));
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0) {
	}
	return 0;
}
