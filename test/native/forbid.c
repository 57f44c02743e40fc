// Runs a command with a filter that refuses some system calls, as containers do:
//   forbid [ERRNO] [userfaultfd] [ptrace] [process_vm_readv] [pidfd_getfd] [hugetlb] [pageout] -- CMD ARGS
// ERRNO is a number; without it, it is EPERM. hugetlb: mmap of huge pages has none (ENOMEM); pageout: madvise swaps nothing out.
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

// A call, or, with `mask`, those whose argument has just these of the mask's bits.
static const struct {
	const char *name;
	int number, argument;
	unsigned mask, value;
	int error;
} known[] = {
    {"userfaultfd", SYS_userfaultfd, 0, 0, 0, -1},
    {"ptrace", SYS_ptrace, 0, 0, 0, -1},
    {"process_vm_readv", SYS_process_vm_readv, 0, 0, 0, -1},
    {"pidfd_getfd", SYS_pidfd_getfd, 0, 0, 0, -1},
    {"hugetlb", SYS_mmap, 3, MAP_HUGETLB, MAP_HUGETLB, ENOMEM},
    {"hugetlb", SYS_memfd_create, 1, 4 /* MFD_HUGETLB */, 4, ENOMEM},
    {"hugetlb", SYS_shmget, 2, 04000 /* SHM_HUGETLB */, 04000, ENOMEM},
    {"pageout", SYS_madvise, 2, ~0u, MADV_PAGEOUT, 0},
};

static const unsigned number_at = offsetof(struct seccomp_data, nr);

int main(int argc, char **argv) {
	struct sock_filter code[80];
	int length = 0, at = 1, error = EPERM;
	for (; at < argc && strcmp(argv[at], "--"); at++) {
		if (isdigit(argv[at][0])) {
			error = atoi(argv[at]);
			continue;
		}
		for (size_t index = 0; index < sizeof known / sizeof *known; index++) {
			if (strcmp(argv[at], known[index].name) || length > 70) continue;
			int answer = known[index].error < 0 ? error : known[index].error;
			unsigned argument_at = offsetof(struct seccomp_data, args) + 8 * known[index].argument;
			int rest = known[index].mask ? 4 : 1;
			code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number_at);
			code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, known[index].number, 0, rest);
			if (known[index].mask) {
				code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_at);
				code[length++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, known[index].mask);
				code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, known[index].value, 0, 1);
			}
			code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | answer);
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
