// Prints what the system's headers make of ptrace and PROCMAP_QUERY, as JSON; what older headers lack is left out.
#include <asm/ptrace.h>
#include <elf.h>
#include <linux/fs.h>
#include <linux/ptrace.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/procfs.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#define VALUE(name) printf(",\n\"%s\":%llu", #name, (unsigned long long)(name))

int main(void) {
	printf("{\"WNOHANG\":%d", WNOHANG);
	VALUE(PTRACE_CONT); VALUE(PTRACE_SYSCALL); VALUE(PTRACE_GETREGSET); VALUE(PTRACE_SETREGSET);
	VALUE(PTRACE_GETSIGMASK); VALUE(PTRACE_SETSIGMASK); VALUE(PTRACE_O_TRACESYSGOOD); VALUE(PTRACE_O_TRACECLONE);
	VALUE(PTRACE_O_SUSPEND_SECCOMP); VALUE(PTRACE_EVENT_STOP); VALUE(NT_PRSTATUS); VALUE(__WALL);
	VALUE(PTRACE_SEIZE); VALUE(PTRACE_INTERRUPT); VALUE(PTRACE_DETACH); VALUE(SYS_close); VALUE(SYS_lseek); VALUE(SYS_linkat); VALUE(SYS_fallocate); VALUE(SYS_wait4); VALUE(SYS_waitid); VALUE(SYS_fcntl); VALUE(WSTOPPED);
#ifdef PTRACE_GET_RSEQ_CONFIGURATION
	VALUE(PTRACE_GET_RSEQ_CONFIGURATION);
#endif
#ifdef PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
	VALUE(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG);
#endif
#ifdef PROCMAP_QUERY
	VALUE(PROCMAP_QUERY); VALUE(PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
	printf(",\"procmap_query\":[%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu]", sizeof(struct procmap_query),
	       offsetof(struct procmap_query, size), offsetof(struct procmap_query, query_flags),
	       offsetof(struct procmap_query, query_addr), offsetof(struct procmap_query, vma_start),
	       offsetof(struct procmap_query, vma_end), offsetof(struct procmap_query, vma_flags),
	       offsetof(struct procmap_query, vma_page_size));
#endif
	printf(",\"core\":[%zu,%zu,%zu,%zu,%zu,%zu,%zu]", sizeof(struct elf_prstatus), offsetof(struct elf_prstatus, pr_reg),
	       offsetof(struct elf_prstatus, pr_fpvalid), sizeof(struct elf_prpsinfo), offsetof(struct elf_prpsinfo, pr_pid),
	       offsetof(struct elf_prpsinfo, pr_fname), offsetof(struct elf_prpsinfo, pr_psargs));
#ifdef __x86_64__
	printf(",\"registers\":[%zu,%zu,%zu,%zu,%zu,%zu]}\n", sizeof(struct user_regs_struct),
	       offsetof(struct user_regs_struct, rax) / 8, offsetof(struct user_regs_struct, rdi) / 8,
	       offsetof(struct user_regs_struct, orig_rax) / 8, offsetof(struct user_regs_struct, rip) / 8,
	       offsetof(struct user_regs_struct, cs) / 8);
#else
	VALUE(PTRACE_PEEKTEXT); VALUE(NT_ARM_SYSTEM_CALL); VALUE(NT_ARM_SVE);
	printf(",\"registers\":[%zu,%zu,%zu,%zu]}\n", sizeof(struct user_regs_struct),
	       offsetof(struct user_regs_struct, sp) / 8, offsetof(struct user_regs_struct, pc) / 8,
	       offsetof(struct user_regs_struct, pstate) / 8);
#endif
	return 0;
}
