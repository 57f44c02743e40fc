// A target for the tests of the command. Maps a range of which every second page is written, so that a scan finds as
// many regions as it has pages; prints "START END" in hexadecimal, then obeys a letter from its input:
//   x  exec sleep in its place   q (or the end of input)  exit
//   target PAGES [NAME]   NAME, if given, is that of a file in the current folder whose first page is mapped, too
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
	uint64_t pages = argc > 1 ? strtoull(argv[1], 0, 10) : 1;
	char *base = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED) return 1;
	madvise(base, pages * 4096, MADV_NOHUGEPAGE);
	for (uint64_t page = 0; page < pages; page += 2) base[page * 4096] = 1;
	if (argc > 2) {
		int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
		if (fd < 0 || ftruncate(fd, 4096) != 0) return 1;
		char *file = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (file == MAP_FAILED) return 1;
		file[0] = 1;
	}
	printf("%lx %lx\n", (unsigned long)base, (unsigned long)(base + pages * 4096));
	fflush(stdout);
	char order = 0;
	while (read(0, &order, 1) > 0) {
		if (order == 'x') {
			// The new program must not keep our caller's pipe open.
			close(1);
			execlp("sleep", "sleep", "1000", (char *)0);
			return 1;
		}
		if (order == 'q') break;
	}
	return 0;
}
