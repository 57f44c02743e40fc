// title full|cleared: overwrites its arguments, as programs do that tell there what they do at the moment. "full" leaves no zero in them, nor in
// the environment behind them; "cleared" leaves nothing else in them. Prints "ready", then waits for the end of its input.
#include <stdio.h>
#include <string.h>

extern char **environ;

int main(int argc, char **argv) {
	int isFull = argc > 1 && !strcmp(argv[1], "full");
	char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
	for (char **at = environ; isFull && *at; at++) end = *at + strlen(*at) + 1;
	memset(argv[0], isFull ? 'x' : 0, end - argv[0]);
	puts("ready");
	fflush(stdout);
	while (getchar() >= 0) {
	}
	return 0;
}
