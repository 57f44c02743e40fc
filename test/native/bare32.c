// A 32-bit program without a C library: announces itself, then waits until its input ends.
static int call(int number, int a, const void *b, int c) {
	int result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

void _start(void) {
	char byte;
	call(4, 1, "0 0\n", 4);
	while (call(3, 0, &byte, 1) > 0) {
	}
	call(1, 0, 0, 0);
}
