// A garbage collector of the kind that registers its heap with a userfaultfd of its own in each cycle.
//   own-userfaultfd   prints "0 0". A cycle: at a byte of input opens one and prints "open", at another registers and prints "ok" or what
//   went wrong, writes and closes. Ends with its input.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

enum { BYTES = 8 << 20 };

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  char *heap = mmap(0, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(heap, 1, BYTES);
  printf("0 0\n");
  char byte;
  for (int cycle = 0; read(0, &byte, 1) == 1; cycle++) {
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) return perror("api"), 1;
    printf("open\n");
    if (read(0, &byte, 1) != 1) break;
    struct uffdio_register range = {.range = {(unsigned long)heap, BYTES}, .mode = UFFDIO_REGISTER_MODE_WP};
    printf("%s\n", ioctl(fd, UFFDIO_REGISTER, &range) ? strerror(errno) : "ok");
    memset(heap, cycle, BYTES);
    close(fd);
  }
  return 0;
}
