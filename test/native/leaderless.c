// A process whose main thread has ended while another works on. Prints "0 0"; ends when its input does.
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

int main(void) {
	pthread_t thread;
	pthread_create(&thread, 0, work, 0);
	printf("0 0\n");
	fflush(stdout);
	pthread_exit(0);
}
