// Runs a command for which, and for all that it starts, there are no files of some name: as in sandboxes whose /proc is
// made by another program than Linux, and has no /proc/PID/pagemap.
//   hide NAME -- CMD ARGS
// Every call that opens a file is looked at by this process, by a seccomp filter that asks it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SECCOMP_USER_NOTIF_FLAG_CONTINUE
#define SECCOMP_USER_NOTIF_FLAG_CONTINUE 1
#endif

// Sends a descriptor, or receives one with fd < 0.
static int pass(int channel, int fd) {
	char byte = 0;
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec data = {&byte, 1};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	if (fd < 0) {
		if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != 1 || message.msg_controllen == 0) return -1;
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
		return fd;
	}
	control.header = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	return sendmsg(channel, &message, 0);
}

static void begin(int channel, char **command) {
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#ifdef SYS_open
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_open, 2, 0),
#else
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 2, 0),
#endif
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1, 0),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof code / sizeof *code, code};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) _exit(126);
	int listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (listener < 0 || pass(channel, listener) < 0) {
		perror("seccomp");
		_exit(126);
	}
	close(listener);
	close(channel);
	execvp(command[0], command);
	perror(command[0]);
	_exit(127);
}

// Whether the path that process `pid` gave ends in the name.
static int is_hidden(int pid, unsigned long long address, const char *name) {
	char file[64], path[4096];
	snprintf(file, sizeof file, "/proc/%d/mem", pid);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0) return 0;
	ssize_t count = pread(fd, path, sizeof path - 1, address);
	close(fd);
	if (count <= 0) return 0;
	path[count] = 0;
	char *last = strrchr(path, '/');
	return !strcmp(last ? last + 1 : path, name);
}

int main(int argc, char **argv) {
	int channel[2];
	if (argc < 4 || strcmp(argv[2], "--")) return 2;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel)) return 3;
	int child = fork();
	if (child == 0) begin(channel[1], argv + 3);
	close(channel[1]);
	int listener = pass(channel[0], -1);
	// Ctrl-C goes to the command, too, which decides what to do.
	signal(SIGINT, SIG_IGN);
	for (;;) {
		struct seccomp_notif asked = {0};
		// When nobody is left under the filter, there is nothing to receive.
		if (listener < 0 || ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) {
			if (listener >= 0 && (errno == EINTR || (errno == ENOENT && kill(child, 0) == 0))) {
				int status;
				if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
				continue;
			}
			break;
		}
		int path = 1;
#ifdef SYS_open
		if (asked.data.nr == SYS_open) path = 0;
#endif
		int hidden = is_hidden(asked.pid, asked.data.args[path], argv[1]);
		struct seccomp_notif_resp answer = {.id = asked.id, .error = hidden ? -ENOENT : 0,
		                                    .flags = hidden ? 0 : SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
	int status;
	if (waitpid(child, &status, 0) != child) return 126;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
