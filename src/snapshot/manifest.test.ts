import { expect, test } from 'vitest';
import { decodeManifest, encodeManifest, type Manifest } from './manifest.js';

const bytes = (text: string) => new Uint8Array(Buffer.from(text));

const MANIFEST: Pick<Manifest, 'head' | 'sections'> = {
  head: {
    number: 7,
    base: 6,
    first: 2,
    timeMs: 1_700_000_000_123,
    run: 1,
    pauseMs: 1.5,
    totalMs: 20,
    pages: 10,
    changedPages: 2,
    writtenPages: 3,
    newPages: 1,
    storedBytes: 4096,
    doubts: ['it has a GPU open'],
    unreadablePages: 0,
    categories: 0x7c,
    facts: {
      ids: { pid: 1, ppid: 2, pgid: 3, sid: 4 },
      state: 'S',
      flags: 0x400000,
      nice: 0,
      uid: 1000,
      gid: 1000,
      name: bytes('a\x01b'),
      commandLine: bytes('a\0--b\0'),
      auxv: bytes('aux'),
      isElsewhere: false,
    },
    threads: [
      {
        tid: 1,
        name: 'wor(ker) 1',
        ids: { pid: 1, ppid: 2, pgid: 3, sid: 4 },
        signalMask: 2n ** 63n + 5n,
        ticks: [1, 2, 3, 4],
        registers: bytes('registers'),
        registerSets: [
          {
            owner: 'LINUX',
            type: 0x202,
            mostBytes: 100,
            isFloatingPoint: true,
            content: bytes('fp'),
          } as never,
        ],
      },
    ],
    mappings: [
      {
        mapping: {
          start: 2 ** 46,
          end: 2 ** 46 + 8192,
          perms: 'rw-p',
          offset: 0,
          device: { major: 0, minor: 0 },
          inode: 0,
          name: '[anon:\u202e"x"]',
          deleted: false,
        },
        traits: { dontDump: false, io: false, huge: false, dax: false },
        known: true,
        share: 'written',
        holds: 'pages',
      },
    ],
  },
  sections: { pages: bytes('pages'), written: bytes(''), categories: bytes('categories') },
};

test('a manifest comes back as it was', () => {
  const decoded = decodeManifest(encodeManifest(MANIFEST));
  const { head, sections } = decoded;
  const { number, base, first, timeMs } = MANIFEST.head;
  expect(decoded).toMatchObject({ number, base, first, timeMs, hasMappings: true });
  expect(head).toEqual(MANIFEST.head);
  expect(Object.entries(sections).map(([name, each]) => [name, Buffer.from(each!).toString()])).toEqual([
    ['pages', 'pages'],
    ['written', ''],
    ['categories', 'categories'],
  ]);
});

test('what is as in the one before it is left out', () => {
  const { mappings: _, ...rest } = MANIFEST.head;
  const encoded = encodeManifest({
    head: { ...rest, mappings: undefined },
    sections: { ...MANIFEST.sections, categories: undefined },
  });
  const { head, sections } = decodeManifest(encoded);
  expect(head.mappings).toBeUndefined();
  expect(decodeManifest(encoded).hasMappings).toBe(false);
  expect(sections.categories).toBeUndefined();
});

test('a manifest is refused when any byte of it is another one, and when it is cut off', () => {
  const encoded = encodeManifest(MANIFEST);
  for (let at = 0; at < encoded.length; at++) {
    encoded[at]! ^= 0x10;
    expect(() => decodeManifest(encoded), `byte ${at}`).toThrow();
    encoded[at]! ^= 0x10;
  }
  for (const length of [0, 10, 40, 90, encoded.length - 1])
    expect(() => decodeManifest(encoded.subarray(0, length))).toThrow();
});

test.each([
  ['run', 'two'],
  ['pauseMs', undefined],
  ['pages', '\x1b[31m'],
  ['doubts', 'none'],
  ['doubts', [1]],
  ['threads', null],
  ['facts', {}],
  ['timeMs', 9e15],
])('a head is refused whose %s is %j, though the check values are right', (key, value) => {
  const decoded = decodeManifest(encodeManifest({ ...MANIFEST, head: { ...MANIFEST.head, [key]: value } }));
  expect(() => decoded.head).toThrow('Cannot read snapshot 7: its head is none');
});

test('one of a newer version is told as such', () => {
  const encoded = encodeManifest(MANIFEST);
  encoded.write('PMSNAP2\n', 'latin1');
  expect(() => decodeManifest(encoded)).toThrow('a newer version has written it');
});
