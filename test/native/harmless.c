// A target that notices when it is disturbed: by a wrong result, an early wake-up, an error that was not there.
//   harmless MODE [THREADS]   prints "0 0", works until its input ends or brings a byte, then prints "ok ROUNDS" or what was wrong
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#endif
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#ifdef __aarch64__
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#include <time.h>
#include <unistd.h>

static atomic_int stop;
static atomic_long rounds;
static atomic_long early;
static char problem[256];
static __thread uint64_t thread_local_value = 0x1234;

#define FAIL(...) do { snprintf(problem, sizeof problem, __VA_ARGS__); atomic_store(&stop, 1); return; } while (0)

static int64_t now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

// What a call was called with that a stop has ended is not always to be known on arm64: some such ends stay, and are counted.
#ifdef __aarch64__
#define ENDABLE(call)                                                                      \
	({                                                                                     \
		long ended;                                                                        \
		while ((ended = (call)) < 0 && errno == EINTR) atomic_fetch_add(&early, 1);        \
		ended;                                                                             \
	})
#else
#define ENDABLE(call) (call)
#endif

enum { WAIT_MS = 20 };
static const int64_t WAIT_NS = WAIT_MS * 1000000ll;

#define WAITING(call, result, error)                                                        \
	do {                                                                                    \
		int64_t before = now(CLOCK_MONOTONIC);                                              \
		errno = 0;                                                                          \
		long got = (call);                                                                  \
		int why = errno;                                                                    \
		int64_t took = now(CLOCK_MONOTONIC) - before;                                       \
		if (got != (result) || (got < 0 && why != (error)))                                 \
			FAIL(#call " gave %ld, errno %d, after %ld us", got, why, (long)took / 1000);  \
		if (took < WAIT_NS) FAIL(#call " took %ld us only", (long)took / 1000);            \
	} while (0)

static void m_nanosleep(void) {
	struct timespec t = {0, WAIT_NS}, rest;
	WAITING(nanosleep(&t, &rest), 0, 0);
}

static void m_absolute(void) {
	int64_t until = now(CLOCK_MONOTONIC) + WAIT_NS;
	struct timespec t = {until / 1000000000, until % 1000000000};
	int result = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, 0);
	if (result != 0 || now(CLOCK_MONOTONIC) < until) FAIL("clock_nanosleep gave %d", result);
}

static int epoll_of(int fd) {
	int epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	if (fd >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	return epoll;
}

static void m_epoll(void) {
	static __thread int epoll = -1;
	if (epoll < 0) epoll = epoll_of(-1);
	struct epoll_event event;
	WAITING(ENDABLE(epoll_wait(epoll, &event, 1, WAIT_MS)), 0, 0);
}

static void m_epoll_pwait2(void) {
	static __thread int epoll = -1;
	if (epoll < 0) epoll = epoll_of(-1);
	struct epoll_event event;
	struct timespec t = {0, WAIT_NS};
	sigset_t mask;
	sigemptyset(&mask);
	WAITING(ENDABLE(syscall(441, epoll, &event, 1, &t, &mask, 8)), 0, 0);
}

static void m_poll(void) { WAITING(poll(0, 0, WAIT_MS), 0, 0); }

static void m_ppoll(void) {
	struct timespec t = {0, WAIT_NS};
	sigset_t mask, before, after;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, 0, &before);
	WAITING(ppoll(0, 0, &t, &mask), 0, 0);
	pthread_sigmask(SIG_BLOCK, 0, &after);
	if (memcmp(&before, &after, 8)) FAIL("ppoll left another signal mask");
}

static void m_select(void) {
	struct timeval t = {0, WAIT_NS / 1000};
	WAITING(select(0, 0, 0, 0, &t), 0, 0);
}

static void m_futex(void) {
	static int word;
	struct timespec t = {0, WAIT_NS};
	WAITING(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, 0, 0), -1, ETIMEDOUT);
}

static void m_sigtimedwait(void) {
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, 0);
	struct timespec t = {0, WAIT_NS};
	WAITING(ENDABLE(sigtimedwait(&set, 0, &t)), -1, EAGAIN);
}

static int semaphore = -1;
static void m_semop(void) {
	if (semaphore < 0) semaphore = semget(IPC_PRIVATE, 1, 0600);
	struct sembuf take = {0, -1, 0};
	struct timespec t = {0, WAIT_NS};
	WAITING(ENDABLE(semtimedop(semaphore, &take, 1, &t)), -1, EAGAIN);
}

static void m_recv(void) {
	static __thread int pair[2];
	if (pair[0] == 0) {
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		struct timeval t = {0, WAIT_NS / 1000};
		setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	}
	char byte;
	// The kernel counts this in ticks, and so does this clock. Where a virtual machine has missed some, they come at once.
	int64_t before = now(CLOCK_MONOTONIC_COARSE);
	long got = ENDABLE(recv(pair[0], &byte, 1, 0));
	if (got != -1 || errno != EAGAIN) FAIL("recv gave %ld, errno %d", got, errno);
	if (now(CLOCK_MONOTONIC_COARSE) - before < WAIT_NS - 10000000) FAIL("recv woke up early");
}

// Every register that a program can use holds something through the loop; nothing but registers is looked at.
static uint64_t checksum(uint64_t seed) {
	uint64_t a = seed, b = ~seed, c = seed * 3, d = seed ^ 0x5555, e = seed + 7;
	double x = 1.0 + (seed & 7), y = 0.5;
	for (int i = 0; i < 200000; i++) {
		a = a * 6364136223846793005ull + b, b = (b << 7 | b >> 57) ^ c, c += a ^ d, d = (d >> 3 | d << 61) + e, e ^= a >> 11;
		x = x * 1.0000001 + y, y = y * 0.999999 + 1e-9;
	}
	uint64_t bits;
	memcpy(&bits, &x, 8);
	return a ^ b ^ c ^ d ^ e ^ bits;
}

static void m_checksum(void) {
	static uint64_t expected;
	if (expected == 0) expected = checksum(42);
	uint64_t got = checksum(42);
	if (got != expected) FAIL("checksum %lx instead of %lx", got, expected);
	if (thread_local_value != 0x1234) FAIL("thread-local storage is elsewhere");
}

static void m_syscalls(void) {
	for (int i = 0; i < 1000; i++) {
		long pid = syscall(SYS_getpid), parent = syscall(SYS_getppid);
		if (pid != getpid() || parent <= 0) FAIL("getpid gave %ld, getppid %ld", pid, parent);
		if (syscall(SYS_close, 9999) != -1 || errno != EBADF) FAIL("close gave errno %d", errno);
		sched_yield();
	}
}

static atomic_long handled, traps;
static void on_signal(int signal) {
	int saved = errno;
	// Long enough to be met in the middle.
	if (checksum(7) == 0) write(2, "?", 1);
	if (signal == SIGTRAP) traps++;
	handled++;
	errno = saved;
}

static long sent;
static void m_storm(void) {
	// Queued signals, each delivered exactly once; no more than fit.
	union sigval value = {0};
	for (int i = 0; i < 20; i++) {
		if (sigqueue(getpid(), SIGRTMIN + i % 3, value) == 0) sent++;
	}
	m_checksum();
	if (handled != sent) FAIL("%ld signals handled, %ld sent", handled, sent);
}

static void on_alarm(int signal) {
	(void)signal;
	int saved = errno;
	if (checksum(3) == 0) write(2, "?", 1);
	handled++;
	errno = saved;
}

// A loop under a timer, sleeping in calls that the handler's return restarts or not, as it should.
static void m_alarm(void) {
	static long last;
	for (int i = 0; i < 20; i++) m_checksum();
	if (handled == last) FAIL("the timer's signals stay out");
	last = handled;
}

static void m_trap(void) {
	struct sigaction action;
	sigset_t mask;
	static struct sigaction first;
	static sigset_t first_mask;
	static int begun;
	sigaction(SIGTRAP, 0, &action);
	pthread_sigmask(SIG_BLOCK, 0, &mask);
	if (!begun) begun = 1, first = action, first_mask = mask;
	if (action.sa_handler != first.sa_handler) FAIL("another handler of SIGTRAP");
	if (memcmp(&mask, &first_mask, 8)) FAIL("another signal mask");
	if (traps) FAIL("%ld SIGTRAP", traps);
	sigset_t pending;
	sigpending(&pending);
	if (sigismember(&pending, SIGTRAP)) FAIL("a pending SIGTRAP");
	m_checksum();
}

// Blocked for good in one call; the byte on standard input that ends it is all that may.
static void until_input(const char *mode) {
	char byte;
	if (!strcmp(mode, "read")) {
		long got = read(0, &byte, 1);
		if (got < 0) FAIL("read gave errno %d", errno);
	} else if (!strcmp(mode, "epoll-forever")) {
		struct epoll_event event;
		int epoll = epoll_of(0);
		int got = ENDABLE(epoll_wait(epoll, &event, 1, -1));
		if (got != 1) FAIL("epoll_wait gave %d, errno %d", got, errno);
	} else if (!strcmp(mode, "poll-forever")) {
		struct pollfd fd = {0, POLLIN, 0};
		int got = poll(&fd, 1, -1);
		if (got != 1) FAIL("poll gave %d, errno %d", got, errno);
	}
	rounds = 1;
}

// A timeout in io_uring, waited for.
static void m_uring(void) {
	static int ring = -1;
	static unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	static struct io_uring_sqe *sqes;
	static struct io_uring_cqe *cqes;
	if (ring < 0) {
		struct io_uring_params p = {0};
		ring = syscall(SYS_io_uring_setup, 4, &p);
		if (ring < 0) FAIL("io_uring_setup: errno %d", errno);
		char *sq = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
		if (sq == MAP_FAILED) sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
		char *cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof *cqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
		sqes = mmap(0, p.sq_entries * sizeof *sqes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
		if (sq == MAP_FAILED || cq == MAP_FAILED || (void *)sqes == MAP_FAILED) FAIL("io_uring mmap: errno %d", errno);
		sq_tail = (void *)(sq + p.sq_off.tail), sq_mask = (void *)(sq + p.sq_off.ring_mask), sq_array = (void *)(sq + p.sq_off.array);
		cq_head = (void *)(cq + p.cq_off.head), cq_tail = (void *)(cq + p.cq_off.tail), cq_mask = (void *)(cq + p.cq_off.ring_mask);
		cqes = (void *)(cq + p.cq_off.cqes);
	}
	struct {
		int64_t seconds, nanoseconds;
	} t = {0, WAIT_NS};
	unsigned tail = *sq_tail, index = tail & *sq_mask;
	memset(&sqes[index], 0, sizeof *sqes);
	sqes[index].opcode = IORING_OP_TIMEOUT;
	sqes[index].addr = (uint64_t)&t;
	sqes[index].len = 1;
	sq_array[index] = index;
	atomic_store((atomic_uint *)sq_tail, tail + 1);
	int64_t before = now(CLOCK_MONOTONIC);
	int submitted = syscall(SYS_io_uring_enter, ring, 1, 0, 0, 0, 0);
	int got = ENDABLE(syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS, 0, 0));
	if (submitted != 1 || got < 0) FAIL("io_uring_enter gave %d and %d, errno %d", submitted, got, errno);
	if (atomic_load((atomic_uint *)cq_tail) == *cq_head) FAIL("io_uring_enter woke up without a result");
	int result = cqes[*cq_head & *cq_mask].res;
	atomic_store((atomic_uint *)cq_head, *cq_head + 1);
	if (result != -ETIME || now(CLOCK_MONOTONIC) - before < WAIT_NS) FAIL("io_uring timeout gave %d", result);
}

// A restartable sequence that takes most of the time. Met inside of it and moved elsewhere without care, the kernel forgets
// that it has to be aborted: it clears the pointer that says so, which shows before its end.
static void m_rseq(void) {
#if defined(__x86_64__) && defined(RSEQ_SIG)
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;
	if (__rseq_size == 0) return;
	for (int i = 0; i < 50; i++) {
		__asm__ goto(".pushsection __rseq_cs, \"aw\"\n.balign 32\n3: .long 0, 0\n.quad 1f, 2f - 1f, 4f\n.popsection\n"
		             "leaq 3b(%%rip), %%rax\nmovq %%rax, 8(%0)\n"
		             "1: movl $100000, %%ecx\n5: decl %%ecx\njnz 5b\n"
		             "cmpq %%rax, 8(%0)\njne %l[forgotten]\n2:\n"
		             ".pushsection __rseq_failure, \"ax\"\n.long 0x53053053\n4: jmp %l[aborted]\n.popsection\n"
		             : : "r"(area) : "rax", "rcx", "memory", "cc" : forgotten, aborted);
		continue;
	forgotten:
		FAIL("a restartable sequence was left and come back to, and not aborted");
	aborted:;
	}
#endif
}

#ifdef __aarch64__
// Registers that a system call of another's would change: vectors, predicates and the first-fault register.
#define ALL_VECTORS                                                                                                \
	"v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",  \
	    "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"

#define FILL_VECTORS                                                                                               \
	"ptrue p0.b\nmov z0.b, #0x5a\nmov z31.b, #0x33\nindex z1.b, #0, #1\ncmplo p1.b, p0/z, z1.b, #8\n"
#define SPIN "mov x9, #50000\n1: subs x9, x9, #1\nb.ne 1b\n"
// How many bytes are not as they were filled: p2 collects, p5 is all true again.
#define CHECK_VECTORS                                                                                              \
	"ptrue p5.b\neor p2.b, p5/z, p0.b, p5.b\n"                                                                   \
	"mov z2.b, #0x5a\ncmpne p3.b, p5/z, z0.b, z2.b\norr p2.b, p5/z, p2.b, p3.b\n"                               \
	"mov z2.b, #0x33\ncmpne p3.b, p5/z, z31.b, z2.b\norr p2.b, p5/z, p2.b, p3.b\n"                              \
	"index z2.b, #0, #1\ncmpne p3.b, p5/z, z1.b, z2.b\norr p2.b, p5/z, p2.b, p3.b\n"                            \
	"cmplo p3.b, p5/z, z2.b, #8\neor p3.b, p5/z, p3.b, p1.b\norr p2.b, p5/z, p2.b, p3.b\n"

static void m_sve(void) {
	uint64_t wrong;
	if (!(getauxval(AT_HWCAP) & HWCAP_SVE)) FAIL("this processor has no SVE");
	__asm__ volatile(".arch_extension sve\n" FILL_VECTORS "wrffr p1.b\n" SPIN CHECK_VECTORS
	                 "rdffr p4.b\neor p3.b, p5/z, p4.b, p1.b\norr p2.b, p5/z, p2.b, p3.b\n"
	                 "cntp %0, p5, p2.b\n"
	                 : "=r"(wrong) : : "x9", "cc", "memory", ALL_VECTORS);
	if (wrong) FAIL("%lu bytes of vectors have changed", wrong);
}

// Streaming mode, which a system call ends, and the matrix ZA.
static void m_streaming(void) {
	uint64_t wrong, mode;
	if (!(getauxval(AT_HWCAP2) & (1 << 23))) FAIL("this processor has no SME");
	__asm__ volatile(".arch_extension sme\nsmstart\nmov w12, #0\n" FILL_VECTORS "mova za0h.b[w12, 0], p0/m, z1.b\n" SPIN
	                 "mrs %1, S3_3_C4_C2_2\nsmstart\n" CHECK_VECTORS
	                 "mov w12, #0\nmova z3.b, p5/m, za0h.b[w12, 0]\ncmpne p3.b, p5/z, z3.b, z2.b\n"
	                 "orr p2.b, p5/z, p2.b, p3.b\ncntp %0, p5, p2.b\nsmstop\n"
	                 : "=&r"(wrong), "=&r"(mode) : : "x9", "x12", "cc", "memory", ALL_VECTORS);
	if (mode != 3 || wrong) FAIL("streaming mode is %lu, %lu bytes of vectors have changed", mode, wrong);
}
#endif

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
#ifdef __aarch64__
    {"sve", m_sve}, {"sme", m_streaming},
#endif
    {"nanosleep", m_nanosleep}, {"absolute", m_absolute}, {"epoll", m_epoll}, {"epoll_pwait2", m_epoll_pwait2},
    {"poll", m_poll}, {"ppoll", m_ppoll}, {"select", m_select}, {"futex", m_futex}, {"sigtimedwait", m_sigtimedwait},
    {"semtimedop", m_semop}, {"recv", m_recv}, {"checksum", m_checksum}, {"syscalls", m_syscalls}, {"storm", m_storm},
    {"alarm", m_alarm}, {"trap-default", m_trap}, {"trap-ignored", m_trap}, {"trap-handled", m_trap},
    {"trap-blocked", m_trap}, {"io_uring", m_uring}, {"rseq", m_rseq},
};

static void *work(void *argument) {
	const char *mode = argument;
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		if (strcmp(modes[i].name, mode)) continue;
		// One round at least: on a busy machine, little time may pass for it.
		do {
			modes[i].run();
			rounds++;
		} while (!atomic_load(&stop));
		return 0;
	}
	until_input(mode);
	if (rounds == 0 && !problem[0]) snprintf(problem, sizeof problem, "no such mode");
	return 0;
}

static void *watch_input(void *unused) {
	char byte;
	while (read(0, &byte, 1) < 0 && errno == EINTR) {
	}
	atomic_store(&stop, 1);
	return unused;
}

int main(int argc, char **argv) {
	char *mode = argc > 1 ? argv[1] : "nanosleep";
	int count = argc > 2 ? atoi(argv[2]) : 1;
	int forever = !strcmp(mode, "read") || strstr(mode, "-forever");
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	// A SIGTRAP that was not there must not end it before it can be told.
	if (!strcmp(mode, "trap-handled")) sigaction(SIGTRAP, &action, 0);
	if (!strcmp(mode, "trap-ignored")) signal(SIGTRAP, SIG_IGN);
	if (!strcmp(mode, "trap-blocked")) {
		sigset_t set;
		sigemptyset(&set);
		sigaddset(&set, SIGTRAP);
		pthread_sigmask(SIG_BLOCK, &set, 0);
	}
	pthread_t threads[1024];
	for (int i = 0; i < 3; i++) sigaction(SIGRTMIN + i, &action, 0);
	printf("0 0\n");
	fflush(stdout);
	// A thread of its own only where there are several: it would be stopped in the stead of the one that works alone.
	if (!forever && count > 1) {
		sigset_t all, before;
		sigfillset(&all);
		pthread_sigmask(SIG_BLOCK, &all, &before);
		pthread_t thread;
		pthread_create(&thread, 0, watch_input, 0);
		pthread_sigmask(SIG_SETMASK, &before, 0);
	}
	if (!strcmp(mode, "alarm")) {
		struct sigaction alarm = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
		sigaction(SIGALRM, &alarm, 0);
		struct itimerval every = {{0, 2000}, {0, 2000}};
		setitimer(ITIMER_REAL, &every, 0);
	}
	for (int i = 1; i < count; i++) pthread_create(&threads[i], 0, work, mode);
	if (forever || count > 1) {
		work(mode);
	} else {
		// One thread alone looks by itself whether it is to end, between its rounds.
		for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
			if (strcmp(modes[i].name, mode)) continue;
			while (!atomic_load(&stop)) {
				modes[i].run();
				rounds++;
				struct pollfd fd = {0, POLLIN, 0};
				if (poll(&fd, 1, 0) > 0) atomic_store(&stop, 1);
			}
		}
	}
	for (int i = 1; i < count; i++) pthread_join(threads[i], 0);
	if (semaphore >= 0) semctl(semaphore, 0, IPC_RMID);
	if (problem[0]) printf("%s\n", problem);
	else if (early) printf("ok %ld, %ld calls ended early\n", (long)rounds, (long)early);
	else printf("ok %ld\n", (long)rounds);
	return problem[0] != 0;
}
