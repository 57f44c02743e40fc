// An arena that grows in place next to itself, so that the kernel joins both mappings, and is then moved as one by mremap, before the
// new part is written.
//   merged-mremap   prints "0 0". At a byte of input it grows and prints "grown", at another it moves and prints "ok" or what went wrong.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BYTES = 1 << 20 };

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  char *room = mmap(0, 16 * BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0), byte;
  munmap(room, 16 * BYTES);
  char *arena = mmap(room + BYTES, BYTES, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memset(arena, 1, BYTES);
  printf("0 0\n");
  if (read(0, &byte, 1) != 1) return 0;
  mmap(arena + BYTES, BYTES, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  printf("grown\n");
  if (read(0, &byte, 1) != 1) return 0;
  char *moved = mremap(arena, 2 * BYTES, 4 * BYTES, MREMAP_MAYMOVE);
  if (moved != MAP_FAILED) memset(moved + BYTES, 2, BYTES);
  printf("%s\n", moved == MAP_FAILED ? strerror(errno) : "ok");
  return read(0, &byte, 1) < 0;
}
