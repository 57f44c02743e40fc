// Runs a command with a filter that answers EPERM to some system calls, as containers do:
//   forbid [userfaultfd] [ptrace] [process_vm_readv] [pidfd_getfd] -- CMD ARGS
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static const struct {
	const char *name;
	int number;
} known[] = {
    {"userfaultfd", SYS_userfaultfd},
    {"ptrace", SYS_ptrace},
    {"process_vm_readv", SYS_process_vm_readv},
    {"pidfd_getfd", SYS_pidfd_getfd},
};

int main(int argc, char **argv) {
	struct sock_filter code[32] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	int length = 1, at = 1;
	for (; at < argc && strcmp(argv[at], "--"); at++) {
		for (size_t index = 0; index < sizeof known / sizeof *known; index++) {
			if (strcmp(argv[at], known[index].name) || length > 28) continue;
			code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, known[index].number, 0, 1);
			code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
		}
	}
	code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {length, code};
	if (at + 1 >= argc) return 2;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 3;
	execvp(argv[at + 1], argv + at + 1);
	perror(argv[at + 1]);
	return 127;
}
