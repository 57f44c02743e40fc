import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PF_KTHREAD, parseStatStartTime, parseStatus } from './status.js';
import { nameBytes, ProcParseError } from './text.js';

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// Linux 6.18.
const PROCESS = `Name:\tcat
Umask:\t0022
State:\tt (tracing stop)
Tgid:\t6273
Ngid:\t0
Pid:\t6274
PPid:\t6267
TracerPid:\t99
Uid:\t1000\t1001\t1002\t4294967295
Gid:\t5\t6\t7\t8
FDSize:\t256
Groups:\t4 24 27 
NStgid:\t6273\t12
NSpid:\t6274\t13
NSpgid:\t6267\t0
NSsid:\t5266\t0
Kthread:\t0
VmPeak:\t    3060 kB
VmSize:\t    3059 kB
VmLck:\t       4 kB
VmPin:\t       0 kB
VmHWM:\t    1733 kB
VmRSS:\t    1732 kB
RssAnon:\t     116 kB
RssFile:\t    1616 kB
RssShmem:\t       8 kB
VmData:\t     360 kB
VmStk:\t     132 kB
VmExe:\t      20 kB
VmLib:\t    1528 kB
VmPTE:\t      40 kB
VmSwap:\t      12 kB
HugetlbPages:\t    2048 kB
CoreDumping:\t0
THP_enabled:\t1
untag_mask:\t0xffffffffffffffff
Threads:\t3
SigQ:\t0/96343
SigPnd:\t0000000000000000
CapInh:\t0000000000000000
CapPrm:\t000001fffeffffff
CapEff:\t000001fffeffffff
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t1
Cpus_allowed:\t3
voluntary_ctxt_switches:\t0
`;

const KERNEL_THREAD = `Name:\tkthreadd
Umask:\t0022
State:\tS (sleeping)
Tgid:\t2
Ngid:\t0
Pid:\t2
PPid:\t0
TracerPid:\t0
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
FDSize:\t64
Groups:\t 
NStgid:\t2
NSpid:\t2
NSpgid:\t0
NSsid:\t0
Kthread:\t1
Threads:\t1
CapEff:\t000001ffffffffff
NoNewPrivs:\t0
Seccomp:\t0
`;

function parse(text: string) {
  return parseStatus(latin1(text));
}

function named(name: string) {
  return parse(KERNEL_THREAD.replace('kthreadd', () => name)).name;
}

describe('parseStatus', () => {
  it('takes a process apart', () => {
    expect(parse(PROCESS)).toEqual({
      name: 'cat',
      state: 't',
      tgid: 6273,
      pid: 6274,
      ppid: 6267,
      tracerPid: 99,
      uids: [1000, 1001, 1002, 4294967295],
      gids: [5, 6, 7, 8],
      groups: [4, 24, 27],
      kthread: false,
      vmPeakBytes: 3060 * 1024,
      vmSizeBytes: 3059 * 1024,
      vmLckBytes: 4096,
      vmPinBytes: 0,
      vmHwmBytes: 1733 * 1024,
      vmRssBytes: 1732 * 1024,
      rssAnonBytes: 116 * 1024,
      rssFileBytes: 1616 * 1024,
      rssShmemBytes: 8192,
      vmPteBytes: 40 * 1024,
      vmSwapBytes: 12 * 1024,
      hugetlbPagesBytes: 2 * 1024 * 1024,
      seccomp: 2,
      seccompFilters: 1,
      noNewPrivs: true,
      capEff: 0x1fffeffffffn,
      threads: 3,
      nspid: [6274, 13],
      nspgid: [6267, 0],
      nssid: [5266, 0],
    });
  });

  it('leaves sizes of a kernel thread undefined', () => {
    const status = parse(KERNEL_THREAD);
    expect(status).toMatchObject({
      name: 'kthreadd',
      state: 'S',
      kthread: true,
      groups: [],
      noNewPrivs: false,
    });
    expect(status.vmRssBytes).toBeUndefined();
    expect(status.vmSwapBytes).toBeUndefined();
    expect(status.capEff).toBe(0x1ffffffffffn);
  });

  it('knows what an older kernel does not print', () => {
    const old = parse(KERNEL_THREAD.replace(/^(Kthread|Seccomp|NoNewPrivs|NSpid|Groups):.*\n/gm, ''));
    expect(old.kthread).toBeUndefined();
    expect(old.seccomp).toBeUndefined();
    expect(old.noNewPrivs).toBeUndefined();
    expect(old.nspid).toEqual([]);
  });

  it('undoes the escapes of the name', () => {
    expect(named('a\\nb\\\\c \x1b(')).toBe('a\nb\\c \x1b(');
    expect(named('\\\\n')).toBe('\\n');
    expect(named('\\t\\')).toBe('\\t\\');
    expect(named(' x ')).toBe(' x ');
    expect(named('')).toBe('');
    expect(named('Pid:\t1')).toBe('Pid:\t1');
    // A character cut at the fifteenth byte.
    expect(named('caf\xc3')).toBe('caf\\xc3');
    expect([...nameBytes(named('\\\\xc3\xc3'))]).toEqual([0x5c, 0x78, 0x63, 0x33, 0xc3]);
  });

  it.each([
    ['', 1, 'no line in Name'],
    [PROCESS.replace(/^Pid:.*\n/m, ''), PROCESS.split('\n').length - 1, 'no line in Pid'],
    [PROCESS.replace('State:\tt', 'State:\t?'), 3, 'no letter in State'],
    [PROCESS.replace('Pid:\t6274', 'Pid:\tsix'), 6, 'no number in Pid'],
    [PROCESS.replace('Uid:\t1000\t', 'Uid:\t'), 9, 'fewer than four numbers in Uid'],
    [PROCESS.replace('1732 kB', '1732 MB'), 23, 'no number in VmRSS'],
    [PROCESS.replace('NSpid:\t6274', 'NSpid:\t-1'), 14, 'no list of numbers in NSpid'],
    [PROCESS.replace('Umask:', 'Umask'), 2, 'no field'],
    [PROCESS.slice(0, -1), PROCESS.split('\n').length - 1, 'cut off'],
  ])('refuses %j', (text, line, problem) => {
    expect(() => parse(text)).toThrow(ProcParseError);
    expect(() => parse(text)).toThrow(`Cannot parse line ${line} of status: `);
    expect(() => parse(text)).toThrow(problem);
  });

  it.runIf(process.platform === 'linux')('reads this process', () => {
    const status = parseStatus(readFileSync('/proc/self/status'));
    expect(status.pid).toBe(process.pid);
    expect(status.ppid).toBe(process.ppid);
    expect(status.uids[0]).toBe(process.getuid!());
    expect(status.gids[1]).toBe(process.getegid!());
    expect(status.vmRssBytes).toBeGreaterThan(1_000_000);
    expect(status.threads).toBeGreaterThan(1);
    expect(status.kthread).not.toBe(true);
  });
});

describe('parseStatStartTime', () => {
  const FIELDS =
    'R 6294 6294 5266 0 -1 4194304 2967 6548 17 2 3 1 2 2 20 0 1 0 197527 17408000 3491 18446744073709551615 1 1 0\n';

  it.each([
    ['cat', 'cat'],
    ['a\nb\\c \x1b(', 'a\nb\\c \x1b('],
    [') R 1 (', ') R 1 ('],
    ['a) S 1 2 3', 'a) S 1 2 3'],
    ['', ''],
    ['\xff', '\\xff'],
  ])('finds the fields behind the name %j', (comm, name) => {
    expect(parseStatStartTime(latin1(`6298 (${comm}) ${FIELDS}`))).toEqual({
      pid: 6298,
      name,
      state: 'R',
      flags: 4194304,
      startTimeTicks: 197527,
    });
  });

  it('tells kernel threads', () => {
    const kthreadd =
      '2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 2 0 0 20 0 1 0 24 0 0 18446744073709551615 0\n';
    const { flags, startTimeTicks } = parseStatStartTime(latin1(kthreadd));
    expect(flags & PF_KTHREAD).toBe(PF_KTHREAD);
    expect(startTimeTicks).toBe(24);
  });

  it.each([
    ['', 'cut off'],
    ['1 (a) R 1', 'cut off'],
    ['hello\n', 'no name'],
    ['1 )a( R\n', 'no name'],
    ['x (a) R\n', 'no PID'],
    ['1 (a)\n', 'no state'],
    ['1 (a) R 1 2 3\n', 'no flags'],
    ['1 (a) R 1 2 3 4 5 6 7\n', 'no start time'],
  ])('refuses %j', (text, problem) => {
    expect(() => parseStatStartTime(latin1(text))).toThrow(ProcParseError);
    expect(() => parseStatStartTime(latin1(text))).toThrow(problem);
  });

  it.runIf(process.platform === 'linux')('reads this process', () => {
    const stat = parseStatStartTime(readFileSync('/proc/self/stat'));
    expect(stat.pid).toBe(process.pid);
    expect(stat.flags & PF_KTHREAD).toBe(0);
    expect(stat.startTimeTicks).toBeGreaterThan(0);
  });
});
