// A target that does exactly what it is told, a line of input at a time, and answers each with a line:
//   map SLOT KIND PAGES      KIND: anon none shared file sharedfile memfd thp hugetlb; answers START END in hexadecimal
//   write SLOT FIRST COUNT STEP   writes to COUNT pages, every STEP-th from FIRST
//   read SLOT FIRST COUNT STEP
//   kread SLOT FIRST COUNT   has the kernel write there: read(2) from /dev/zero
//   protect SLOT rw|r|none   discard SLOT FIRST COUNT   collapse SLOT   swap SLOT
//   advise SLOT ADVICE       madvise(2) by its number
//   unmap SLOT   again SLOT KIND   (munmap, then mmap of KIND at the same address)
//   renew SLOT FIRST COUNT   munmap, then mmap of anonymous memory, of a part
//   move SLOT PAGES          mremap to another place, with another size; answers START END
//   brk PAGES                grows the heap; answers START END of what was added, as slot 0
//   stack PAGES              writes to so many pages of the stack
//   fork                     the child writes to all slots and lives on, until the end
//   child                    has it end
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLOTS = 16 };
// Bytes of a page, and of a huge page: as large as what a page of entries maps.
static size_t PAGE, HUGE;
static struct {
	char *start;
	size_t bytes;
	int writable;
} slots[SLOTS];
static pid_t child;
static char value;

static int file(size_t bytes) {
	char name[] = "/var/tmp/pagemap-scan-XXXXXX";
	int fd = mkstemp(name);
	unlink(name);
	char page[PAGE];
	memset(page, 7, sizeof page);
	for (size_t at = 0; at < bytes; at += PAGE)
		if (write(fd, page, PAGE) != (ssize_t)PAGE) _exit(3);
	return fd;
}

static char *map(const char *kind, size_t bytes, void *at) {
	int flags = MAP_PRIVATE, fd = -1, prot = PROT_READ | PROT_WRITE;
	if (!strcmp(kind, "anon") || !strcmp(kind, "thp")) flags |= MAP_ANONYMOUS;
	else if (!strcmp(kind, "none")) flags |= MAP_ANONYMOUS, prot = PROT_NONE;
	else if (!strcmp(kind, "shared")) flags = MAP_SHARED | MAP_ANONYMOUS;
	else if (!strcmp(kind, "hugetlb")) flags |= MAP_ANONYMOUS | MAP_HUGETLB;
	else if (!strcmp(kind, "file")) fd = file(bytes);
	else if (!strcmp(kind, "sharedfile")) flags = MAP_SHARED, fd = file(bytes);
	else if (!strcmp(kind, "memfd")) {
		flags = MAP_SHARED, fd = memfd_create("writes", 0);
		if (ftruncate(fd, bytes)) _exit(3);
	} else _exit(2);
	if (at) flags |= MAP_FIXED;
	// A gap around each, so that neighbours are not joined; huge pages need their alignment.
	size_t room = bytes + 2 * HUGE;
	if (!at) {
		char *gap = mmap(0, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		munmap(gap, room);
		at = (void *)(((uintptr_t)gap + HUGE) & ~(uintptr_t)(HUGE - 1));
		flags |= MAP_FIXED;
	}
	char *start = mmap(at, bytes, prot, flags, fd, 0);
	if (start == MAP_FAILED) _exit(4);
	madvise(start, bytes, strcmp(kind, "thp") ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
	if (fd >= 0) close(fd);
	return start;
}

static void answer(int slot) {
	printf("%lx %lx\n", (long)slots[slot].start, (long)(slots[slot].start + slots[slot].bytes));
}

int main(void) {
	static char line[256], kind[32];
	setvbuf(stdout, 0, _IOLBF, 0);
	PAGE = sysconf(_SC_PAGESIZE);
	HUGE = PAGE / 8 * PAGE;
	printf("0 0\n");
	while (fgets(line, sizeof line, stdin)) {
		int slot = 0;
		unsigned long first = 0, count = 0, step = 1;
		if (sscanf(line, "map %d %31s %lu", &slot, kind, &count) == 3) {
			slots[slot].bytes = count * PAGE;
			slots[slot].start = map(kind, count * PAGE, 0);
			slots[slot].writable = strcmp(kind, "none") != 0;
			answer(slot);
			continue;
		} else if (sscanf(line, "write %d %lu %lu %lu", &slot, &first, &count, &step) == 4) {
			// Plain stores: an emulated processor adds by reading first, which is a fault of another kind.
			for (unsigned long i = 0; i < count; i++)
				*(volatile char *)(slots[slot].start + (first + i * step) * PAGE + i % PAGE) = ++value;
		} else if (sscanf(line, "read %d %lu %lu %lu", &slot, &first, &count, &step) == 4) {
			for (unsigned long i = 0; i < count; i++) *(volatile char *)(slots[slot].start + (first + i * step) * PAGE);
		} else if (sscanf(line, "kread %d %lu %lu", &slot, &first, &count) == 3) {
			int fd = open("/dev/zero", O_RDONLY);
			if (read(fd, slots[slot].start + first * PAGE, count * PAGE) != (ssize_t)(count * PAGE)) _exit(5);
			close(fd);
		} else if (sscanf(line, "protect %d %31s", &slot, kind) == 2) {
			int prot = !strcmp(kind, "rw") ? PROT_READ | PROT_WRITE : !strcmp(kind, "r") ? PROT_READ : PROT_NONE;
			mprotect(slots[slot].start, slots[slot].bytes, prot);
			slots[slot].writable = prot & PROT_WRITE;
		} else if (sscanf(line, "discard %d %lu %lu", &slot, &first, &count) == 3) {
			madvise(slots[slot].start + first * PAGE, count * PAGE, MADV_DONTNEED);
		} else if (sscanf(line, "swap %d", &slot) == 1) {
			madvise(slots[slot].start, slots[slot].bytes, MADV_PAGEOUT);
		} else if (sscanf(line, "advise %d %lu", &slot, &first) == 2) {
			madvise(slots[slot].start, slots[slot].bytes, first);
		} else if (sscanf(line, "unmap %d", &slot) == 1) {
			munmap(slots[slot].start, slots[slot].bytes);
			slots[slot].bytes = 0;
		} else if (sscanf(line, "again %d %31s", &slot, kind) == 2) {
			munmap(slots[slot].start, slots[slot].bytes);
			map(kind, slots[slot].bytes, slots[slot].start);
		} else if (sscanf(line, "renew %d %lu %lu", &slot, &first, &count) == 3) {
			munmap(slots[slot].start + first * PAGE, count * PAGE);
			map("anon", count * PAGE, slots[slot].start + first * PAGE);
		} else if (sscanf(line, "move %d %lu", &slot, &count) == 2) {
			char *to = mmap(0, count * PAGE + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
			munmap(to, count * PAGE + 2 * HUGE);
			to = (char *)(((uintptr_t)to + HUGE) & ~(uintptr_t)(HUGE - 1));
			char *moved = mremap(slots[slot].start, slots[slot].bytes, count * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
			if (moved == MAP_FAILED) _exit(6);
			slots[slot].start = moved;
			slots[slot].bytes = count * PAGE;
			answer(slot);
			continue;
		} else if (sscanf(line, "brk %lu", &count) == 1) {
			slots[0].start = sbrk(count * PAGE);
			slots[0].bytes = count * PAGE;
			slots[0].writable = 1;
			answer(0);
			continue;
		} else if (sscanf(line, "stack %lu", &count) == 1) {
			volatile char *deep = __builtin_alloca(count * PAGE);
			for (unsigned long i = 0; i < count; i++) deep[i * PAGE] = 1;
		} else if (!strncmp(line, "fork", 4)) {
			child = fork();
			if (child == 0) {
				for (slot = 0; slot < SLOTS; slot++)
					for (size_t at = 0; slots[slot].writable && at < slots[slot].bytes; at += PAGE) slots[slot].start[at]++;
				for (;;) pause();
			}
			usleep(20000);
		} else if (!strncmp(line, "child", 5)) {
			kill(child, SIGKILL);
			waitpid(child, 0, 0);
		} else {
			_exit(7);
		}
		printf("0 0\n");
	}
	if (child) kill(child, SIGKILL);
	return 0;
}
