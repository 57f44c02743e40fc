/** The kinds of owners of memory, by which pictures and sums group it. */

/**
 * The kinds of owners, in the order in which they are listed where nothing else orders them. There are only these, so that they can be
 * labels of metrics.
 */
export const OWNER_KINDS = {
  'v8-new': 'V8 new space',
  'v8-old': 'V8 old space',
  'v8-code': 'V8 code',
  'v8-large': 'V8 large objects',
  'v8-trusted': 'V8 trusted space',
  'v8-read-only': 'V8 read-only space',
  'v8-heap': 'V8 heap',
  'v8-table': 'V8 pointer tables',
  wasm: 'WebAssembly memory',
  malloc: 'malloc',
  jemalloc: 'jemalloc',
  tcmalloc: 'tcmalloc',
  mimalloc: 'mimalloc',
  'partition-alloc': 'PartitionAlloc',
  oilpan: 'Oilpan',
  python: 'Python objects',
  'go-heap': 'Go heap',
  'go-runtime': 'Go runtime',
  'java-heap': 'Java heap',
  'java-metaspace': 'Java metaspace',
  'java-code': 'Java code cache',
  'java-vm': 'Java virtual machine',
  stack: 'stacks',
  'stack-guard': 'stack guards',
  tls: 'thread-local storage',
  loader: 'dynamic linker',
  bss: 'uninitialised variables (bss)',
  program: 'program',
  library: 'libraries',
  file: 'files',
  shared: 'shared memory',
  io: 'io_uring and aio',
  device: 'devices',
  kernel: 'made by the kernel',
  named: 'named by the program',
  heap: 'heap',
  reserved: 'reserved',
} as const;

/** One of `OWNER_KINDS`. */
export type OwnerKind = keyof typeof OWNER_KINDS;
