// A program with a wild write, for docs/guide/snapshots.md: a total that only ever grows is now and then too small.
//   cc -g -pthread -o wild wild.c && ./wild
// Prints where the total is.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static struct {
	int row[64];
	long total;
} store;

// Scales one row of a picture to a width of at most 64.
static void scale(int width) {
	for (int x = 0; x <= width; x++) {
		usleep(10000);
		store.row[x] = 0; // One too many.
	}
}

static void *scale_pictures(void *widths) {
	for (int *width = widths;; width = width[1] ? width + 1 : widths) scale(*width);
	return 0;
}

int main(void) {
	int widths[] = {20, 35, 50, 64, 0};
	pthread_t thread;
	if (pthread_create(&thread, 0, scale_pictures, widths)) return 1;
	printf("%p\n", (void *)&store.total);
	fflush(stdout);
	for (;;) {
		store.total += 1000;
		usleep(50000);
	}
}
