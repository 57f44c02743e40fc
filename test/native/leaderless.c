// A process whose main thread has ended while another works on. Prints "0 0"; ends when its input does. With an argument, the
// main thread waits for a byte first.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void *work(void *unused) {
	char byte;
	while (read(0, &byte, 1) > 0) {
	}
	_exit(0);
	return unused;
}

int main(int argc, char **argv) {
	pthread_t thread;
	char byte;
	if (argc > 1) {
		printf("0 0\n");
		fflush(stdout);
		if (read(0, &byte, 1) < 1) return 0;
	}
	pthread_create(&thread, 0, work, 0);
	printf("0 0\n");
	fflush(stdout);
	pthread_exit(0);
}
