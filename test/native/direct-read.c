// Reads by O_DIRECT into its memory all the time, from two files in turn of which every word is 1 or 2, in one of several ways:
//   direct-read FOLDER sync       pread, one chunk after the other
//   direct-read FOLDER aio        io_submit, half of all chunks on their way
//   direct-read FOLDER uring      io_uring, the same
//   direct-read FOLDER fixed      io_uring, into a buffer that is registered for good
// done[i] is the value that all of chunk i must hold, or 0 while it is being read. Says where the chunks are and where done is, then
// that it has begun. The folder has to be on a file system with O_DIRECT.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CHUNKS = 128, CHUNK = 512 << 10, BYTES = CHUNKS * CHUNK, FLYING = CHUNKS / 2, PAUSE = 5000 };

static char *memory;
static volatile long done[CHUNKS];
static int files[3];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static void begin(void) {
  printf("reading\n");
  fflush(stdout);
}

static void synchronous(void) {
  for (long which = 1;; which = 3 - which, usleep(2000))
    for (long chunk = 0; chunk < CHUNKS; chunk++) {
      done[chunk] = 0;
      if (pread(files[which], memory + chunk * CHUNK, CHUNK, chunk * CHUNK) != CHUNK) fail("pread");
      done[chunk] = which;
      if (which == 1 && chunk == 0) begin();
    }
}

// Which file chunk i is read from next; chunks go in a ring, the first FLYING behind `head` are on their way.
static long next[CHUNKS];

static void asynchronous(void) {
  aio_context_t context = 0;
  if (syscall(SYS_io_setup, CHUNKS, &context)) fail("io_setup");
  static struct iocb blocks[CHUNKS];
  long sent = 0, got = 0;
  begin();
  for (;;) {
    for (; sent < got + FLYING; sent++) {
      long chunk = sent % CHUNKS;
      done[chunk] = 0;
      blocks[chunk] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD,
                                    .aio_fildes = files[next[chunk]],
                                    .aio_buf = (uintptr_t)(memory + chunk * CHUNK),
                                    .aio_nbytes = CHUNK,
                                    .aio_offset = chunk * CHUNK,
                                    .aio_data = chunk};
      struct iocb *list[] = {&blocks[chunk]};
      if (syscall(SYS_io_submit, context, 1, list) != 1) fail("io_submit");
    }
    struct io_event events[CHUNKS];
    long count = syscall(SYS_io_getevents, context, 1, CHUNKS, events, NULL);
    for (long index = 0; index < count; index++) {
      if (events[index].res != CHUNK) fail("aio");
      long chunk = events[index].data;
      done[chunk] = next[chunk];
      next[chunk] = 3 - next[chunk];
    }
    // In order: a later one may be done before. Not as fast as can be, or a dump would find all of it just written.
    usleep(PAUSE);
    while (got < sent && done[got % CHUNKS] != 0) got++;
  }
}

static void ring(int fixed) {
  struct io_uring_params params = {0};
  int fd = syscall(SYS_io_uring_setup, CHUNKS, &params);
  if (fd < 0) fail("io_uring_setup");
  size_t sq = params.sq_off.array + params.sq_entries * 4;
  size_t cq = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
  char *rings = mmap(NULL, sq > cq ? sq : cq, 3, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
  struct io_uring_sqe *entries = mmap(NULL, params.sq_entries * sizeof *entries, 3, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
  if (rings == MAP_FAILED || entries == MAP_FAILED) fail("mmap");
  unsigned *sq_tail = (void *)(rings + params.sq_off.tail), *sq_mask = (void *)(rings + params.sq_off.ring_mask);
  unsigned *sq_array = (void *)(rings + params.sq_off.array);
  unsigned *cq_head = (void *)(rings + params.cq_off.head), *cq_tail = (void *)(rings + params.cq_off.tail);
  unsigned *cq_mask = (void *)(rings + params.cq_off.ring_mask);
  struct io_uring_cqe *cqes = (void *)(rings + params.cq_off.cqes);
  struct iovec all = {memory, BYTES};
  if (fixed && syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &all, 1)) fail("io_uring_register");
  long sent = 0, got = 0;
  begin();
  for (;;) {
    long first = sent;
    for (; sent < got + FLYING; sent++) {
      long chunk = sent % CHUNKS;
      done[chunk] = 0;
      unsigned tail = *sq_tail, slot = tail & *sq_mask;
      entries[slot] = (struct io_uring_sqe){.opcode = fixed ? IORING_OP_READ_FIXED : IORING_OP_READ,
                                            .fd = files[next[chunk]],
                                            .addr = (uintptr_t)(memory + chunk * CHUNK),
                                            .len = CHUNK,
                                            .off = chunk * CHUNK,
                                            .user_data = chunk};
      sq_array[slot] = slot;
      __atomic_store_n(sq_tail, tail + 1, __ATOMIC_RELEASE);
    }
    if (syscall(SYS_io_uring_enter, fd, sent - first, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0) fail("io_uring_enter");
    unsigned head = *cq_head;
    for (; head != __atomic_load_n(cq_tail, __ATOMIC_ACQUIRE); head++) {
      struct io_uring_cqe *cqe = &cqes[head & *cq_mask];
      if (cqe->res != CHUNK) fail("io_uring");
      done[cqe->user_data] = next[cqe->user_data];
      next[cqe->user_data] = 3 - next[cqe->user_data];
    }
    __atomic_store_n(cq_head, head, __ATOMIC_RELEASE);
    usleep(PAUSE);
    while (got < sent && done[got % CHUNKS] != 0) got++;
  }
}

int main(int argc, char **argv) {
  if (argc != 3 || chdir(argv[1])) fail("direct-read FOLDER WAY");
  memory = mmap(NULL, BYTES, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (long which = 1; which < 3; which++) {
    char name[] = "od0";
    name[2] += which;
    files[which] = open(name, O_RDWR | O_CREAT | O_DIRECT, 0600);
    if (files[which] < 0) fail("open");
    for (long at = 0; at < BYTES; at += 8) *(long *)(memory + at) = which;
    if (pwrite(files[which], memory, BYTES, 0) != BYTES) fail("pwrite");
  }
  for (long chunk = 0; chunk < CHUNKS; chunk++) next[chunk] = 1;
  printf("%lx %lx %d %d\n", (long)memory, (long)done, CHUNKS, CHUNK);
  fflush(stdout);
  if (!strcmp(argv[2], "sync")) synchronous();
  if (!strcmp(argv[2], "aio")) asynchronous();
  ring(!strcmp(argv[2], "fixed"));
}
