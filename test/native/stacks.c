// What perf sees of a stack.
//   stacks target          runs with 64 KiB of stack of which it uses the last page, until its input ends
//   stacks sample PID MS   samples PID for so long, as `perf record --call-graph dwarf` does; prints SAMPLES MEAN_BYTES, of 32 KiB each
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { STACK_BYTES = 32 << 10, PAGES = 64 };

static int over(void) {
  struct pollfd input = {0, POLLIN, 0};
  return poll(&input, 1, 0) > 0;
}

static void spin(void) {
  for (volatile unsigned long turn = 1;; turn++)
    if (turn % 10000000 == 0 && over()) return;
}

__attribute__((noinline)) static int target(void) {
  volatile char cold[64 << 10];
  for (size_t at = 0; at < sizeof cold; at += 64) cold[at] = 1;
  puts("ready");
  fflush(stdout);
  spin();
  return cold[0] - 1;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1e3 + time.tv_nsec / 1e6;
}

static int sample(int pid, double ms) {
  struct perf_event_attr attributes = {
      .type = PERF_TYPE_SOFTWARE,
      .size = sizeof attributes,
      .config = PERF_COUNT_SW_TASK_CLOCK,
      .sample_period = 1000000,
      .sample_type = PERF_SAMPLE_STACK_USER,
      .sample_stack_user = STACK_BYTES,
      .disabled = 1,
  };
  int event = syscall(SYS_perf_event_open, &attributes, pid, -1, -1, 0);
  if (event < 0) return perror("perf_event_open"), 1;
  size_t page = sysconf(_SC_PAGESIZE), bytes = PAGES * page;
  struct perf_event_mmap_page *head = mmap(0, page + bytes, PROT_READ | PROT_WRITE, MAP_SHARED, event, 0);
  if (head == MAP_FAILED) return perror("mmap"), 1;
  char *ring = (char *)head + page;
  long samples = 0, sum = 0;
  uint64_t tail = 0;
  ioctl(event, PERF_EVENT_IOC_ENABLE, 0);
  for (double end = now() + ms; now() < end;) {
    uint64_t front = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);
    while (tail < front) {
      struct perf_event_header record;
      static char copy[STACK_BYTES + 4096];
      for (size_t at = 0; at < sizeof record; at++) ((char *)&record)[at] = ring[(tail + at) % bytes];
      for (size_t at = 0; at < record.size && at < sizeof copy; at++) copy[at] = ring[(tail + at) % bytes];
      if (record.type == PERF_RECORD_SAMPLE) {
        // u64 size; char data[size]; u64 dyn_size
        uint64_t size, filled = 0;
        memcpy(&size, copy + sizeof record, 8);
        if (size) memcpy(&filled, copy + sizeof record + 8 + size, 8);
        samples++;
        sum += filled;
      }
      tail += record.size;
    }
    __atomic_store_n(&head->data_tail, tail, __ATOMIC_RELEASE);
    usleep(1000);
  }
  printf("%ld %ld\n", samples, samples ? sum / samples : 0);
  return 0;
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "sample")) return sample(atoi(arguments[2]), atof(arguments[3]));
  return target();
}
