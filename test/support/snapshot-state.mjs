// What a made-up process is like in a snapshot, but for its memory.

/** All but the time, the pages and the mappings. */
export const STATE = {
  categories: 0,
  pageCategories: new Uint8Array(),
  pauseMs: 1,
  totalMs: 2,
  doubts: [],
  unreadablePages: 0,
  facts: {
    ids: { pid: 4242, ppid: 1, pgid: 1, sid: 1 },
    state: 'S',
    flags: 0,
    nice: 0,
    uid: 0,
    gid: 0,
    name: new Uint8Array([0x61]),
    commandLine: new Uint8Array([0x61, 0]),
    auxv: new Uint8Array(16),
    isElsewhere: false,
  },
  threads: [],
};

/** A mapping of private memory without a file, all of which is kept. */
export function mappingOf(start, end) {
  return {
    mapping: {
      start,
      end,
      perms: 'rw-p',
      offset: 0,
      device: { major: 0, minor: 0 },
      inode: 0,
      name: '',
      deleted: false,
    },
    traits: { dontDump: false, io: false, huge: false, dax: false },
    known: true,
    share: 'written',
    holds: 'pages',
  };
}
