// Targets that had better be left alone.
//   refuse MODE   prints "0 0", then waits until its input ends
//     seccomp   a filter kills it for userfaultfd     dumpable   hides its memory     vfork   waits for a vfork child
//     hides     hides its memory when it gets a byte of input
//     catches   has its own system calls reflected    stopped    prints its parent's view of a stopped child: "PID 0"
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile char selector = 0;

int main(int argc, char **argv) {
	const char *mode = argc > 1 ? argv[1] : "";
	if (!strcmp(mode, "seccomp")) {
		struct sock_filter code[] = {
		    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
		    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = {4, code};
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 3;
	} else if (!strcmp(mode, "dumpable")) {
		prctl(PR_SET_DUMPABLE, 0);
	} else if (!strcmp(mode, "catches")) {
		// PR_SET_SYSCALL_USER_DISPATCH, on, nothing excepted; the selector says "let through" so far.
		if (prctl(59, 1, 0, 0, &selector)) return 3;
	}
	printf("0 0\n");
	fflush(stdout);
	if (!strcmp(mode, "vfork")) {
		if (vfork() == 0) {
			char byte;
			while (read(0, &byte, 1) > 0) {
			}
			_exit(0);
		}
		return 0;
	}
	char byte;
	while (read(0, &byte, 1) > 0)
		if (!strcmp(mode, "hides")) prctl(PR_SET_DUMPABLE, 0);
	return 0;
}
