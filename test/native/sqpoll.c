// Has a thread that the kernel made (io_uring's, SQPOLL), and waits in epoll_wait itself. Answers a line when it is so.
#include <linux/io_uring.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
	struct io_uring_params params = {.flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 1000000};
	if (syscall(SYS_io_uring_setup, 8, &params) < 0) return 1;
	int events = epoll_create1(0);
	printf("%d\n", getpid());
	fflush(stdout);
	struct epoll_event event;
	for (;;) epoll_wait(events, &event, 1, -1);
}
