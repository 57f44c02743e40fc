/** Recognisers on evidence that is made up: what no program at hand shows, and programs that mean to deceive. */
import { describe, expect, test } from 'vitest';
import { PAGE_SIZE } from '../abi/index.js';
import { findMappingIndex, type Mapping, parseMaps } from '../proc/index.js';
import { type Evidence, type ThreadEvidence, Words } from './evidence.js';
import { besideLabel, ownedLabel, ownerLabel } from './label.js';
import { parseStackPointer, parseThreadName } from './live.js';
import { OWNER_KINDS, type Owner } from './owner.js';
import { recogniseOwners } from './recognise.js';

const MIB = 2 ** 20;

/** Memory that holds given words, and zeros elsewhere. */
class Scene {
  readonly #lines: string[] = [];
  readonly #words = new Map<number, number>();
  readonly threads: ThreadEvidence[] = [];
  program = '/bin/program';
  isReadable = true;
  /** Memory is there that was not when the mappings were listed. */
  hasNewer = false;
  pageSize: number = PAGE_SIZE;
  reads = 0;
  /** How often a recogniser looked at one of the mappings. */
  looks = 0;

  map(start: number, bytes: number, perms = 'rw-p', name = '', offset = 0): this {
    const inode = name.startsWith('/') ? 7 : 0;
    const range = `${start.toString(16)}-${(start + bytes).toString(16)}`;
    this.#lines.push(`${range} ${perms} ${offset.toString(16)} 00:00 ${inode} ${name}\n`);
    return this;
  }

  write(address: number, ...words: number[]): this {
    words.forEach((word, index) => {
      this.#words.set(address + index * 8, word);
    });
    return this;
  }

  /** The owners' labels by the addresses where mappings start. */
  labels(): Record<string, string> {
    const mappings = this.#mappings();
    const owners = this.owners();
    return Object.fromEntries(
      mappings.map((mapping, index) => [
        `0x${mapping.start.toString(16)}`,
        ownedLabel(mapping, owners[index]),
      ]),
    );
  }

  #mappings(): Mapping[] {
    return parseMaps(new TextEncoder().encode(this.#lines.join('')));
  }

  owners(): readonly (Owner | undefined)[] {
    const mappings = this.#mappings();
    const counted = new Proxy(mappings, {
      get: (target, key) => {
        this.looks++;
        return Reflect.get(target, key);
      },
    });
    const evidence: Evidence = {
      pid: 1,
      pageSize: this.pageSize,
      mappings: counted,
      threads: this.threads,
      program: this.program,
      read: (address, count) => {
        this.reads++;
        const mapping = mappings[findMappingIndex(mappings, address)];
        const isMapped = mapping !== undefined && address + count * 8 <= mapping.end;
        if (!this.isReadable || !(isMapped || this.hasNewer)) return undefined;
        const halves = new Uint32Array(count * 2);
        for (let index = 0; index < count; index++) {
          const word = this.#words.get(address + index * 8) ?? 0;
          halves[2 * index] = word % 2 ** 32;
          halves[2 * index + 1] = Math.floor(word / 2 ** 32);
        }
        return new Words(halves);
      },
    };
    return recogniseOwners(evidence);
  }
}

describe('what the kernel has a name for', () => {
  test('keeps it, or gets a plainer one', () => {
    const names: [kernel: string, perms: string, label: string][] = [
      ['[vdso]', 'r-xp', '[vdso]'],
      ['/bin/program', 'r-xp', '/bin/program'],
      ['/SYSV0052e2c1 (deleted)', 'rw-s', '[shm: key 0x0052e2c1]'],
      ['/memfd:wayland shm (deleted)', 'rw-s', '[memfd: wayland shm]'],
      ['/dev/zero (deleted)', 'rw-s', '[shared anonymous]'],
      ['/dev/zero', 'rw-p', '/dev/zero'],
      ['/memfd:runtime (deleted)', 'r-xp', '/memfd:runtime (deleted)'],
      ['[anon: glibc: loader malloc]', 'rw-p', '[anon: glibc: loader malloc]'],
      ['/[aio] (deleted)', 'rw-s', '[aio]'],
      ['anon_inode:[io_uring]', 'rw-s', '[io_uring]'],
      ['[anon: Go: heap]', 'rw-p', '[anon: Go: heap]'],
      ['[anon:mine\x1b[31m]', 'rw-p', '[anon:mine\\x1b[31m]'],
    ];
    const scene = new Scene();
    for (const [index, [name, perms]] of names.entries()) scene.map((index + 1) * MIB, 4096, perms, name);
    expect(Object.values(scene.labels())).toEqual(names.map(([, , label]) => label));
  });

  test('has no owner where private memory is kept as a file', () => {
    const owners = (perms: string) => new Scene().map(MIB, 2 * MIB, perms, '/anon_hugepage').owners();
    expect(owners('rw-p')).toEqual([undefined]);
    expect(owners('rw-s')).toEqual([{ name: '/anon_hugepage', kind: 'shared', sure: true }]);
  });

  test('brk is malloc only where it begins as glibc has it', () => {
    expect(new Scene().map(MIB, MIB, 'rw-p', '[heap]').labels()).toEqual({ '0x100000': '[heap]' });
    expect(Object.keys(OWNER_KINDS)).toContain('heap');
  });
});

describe('stacks', () => {
  const guarded = () => new Scene().map(0x1000, 0x1000, '---p').map(0x2000, 0x8000);

  test('are those that a stack pointer is in, with a guard below', () => {
    const scene = guarded().map(0x20000, 0x1000);
    scene.threads.push({ tid: 12, name: 'a\x1b[2J', stackPointer: 0x9000 });
    scene.threads.push({ tid: 13, name: 'odd', stackPointer: 0x20800 });
    expect(scene.labels()).toEqual({
      '0x1000': '[stack guard]',
      '0x2000': '[stack: a\\x1b[2J 12]',
      '0x20000': '[stack: odd 13?]',
    });
  });

  test.each([true, false])('are not what has a stack below it, with a guard: %s', (hasGuard) => {
    const scene = new Scene();
    if (hasGuard) scene.map(64 * MIB - 0x1000, 0x1000, '---p');
    scene.map(64 * MIB, 264 * MIB);
    // A stack of 8 MiB, of which little is used, and data above it, in one mapping.
    scene.threads.push({ tid: 12, name: 'first', stackPointer: 72 * MIB - 0x1000 });
    expect(scene.labels()['0x4000000']).toBe('[anon]');
    const deep = new Scene().map(64 * MIB, 64 * MIB);
    deep.threads.push({ tid: 12, name: 'deep', stackPointer: 100 * MIB });
    expect(deep.labels()['0x4000000']).toBe('[stack: deep 12?]');
  });

  test('are those with the descriptor of a thread that there is', () => {
    const at = 0x9700;
    const scene = () =>
      guarded()
        .write(at, at, 0, at)
        .write(at + 0x2d0, 12);
    const running = { tid: 12, name: 'busy' };
    const found = scene();
    found.threads.push(running);
    expect(found.labels()['0x2000']).toBe('[stack: busy 12]');
    const ofNobody = scene();
    ofNobody.threads.push({ ...running, tid: 99 });
    expect(ofNobody.labels()['0x2000']).toBe('[anon]');
    const hidden = scene();
    hidden.threads.push(running);
    hidden.isReadable = false;
    expect(hidden.labels()['0x2000']).toBe('[anon]');
  });

  test('are told by the number that a thread has in its own namespace, and show the one that it has here', () => {
    const [stack, tls] = [0x9700, 0x20340];
    const scene = guarded()
      .map(0x20000, 0x1000)
      .write(stack, stack, 0, stack)
      .write(stack + 0x2d0, 2)
      .write(tls, tls, 0, tls)
      .write(tls + 0x2d0, 7);
    // The process is 1 here and 7 in its container. The thread that is 2 here is not the one that is 2 there.
    scene.threads.push({ tid: 1, ownTid: 7, name: 'main' });
    scene.threads.push({ tid: 2, ownTid: 9, name: 'other' });
    scene.threads.push({ tid: 4012, ownTid: 2, name: 'busy' });
    expect(scene.labels()).toMatchObject({ '0x2000': '[stack: busy 4012]', '0x20000': '[tls]' });
  });

  test('have names of any bytes', () => {
    const bytes = (text: string) => Buffer.from(text, 'latin1');
    expect(parseThreadName(bytes('caf\xe9\n'))).toBe('caf\\xe9');
    expect(parseThreadName(bytes('a\nb\n'))).toBe('a\nb');
    expect(parseThreadName(Buffer.from('gr\u00fcn\n'))).toBe('gr\u00fcn');
    expect(parseThreadName(bytes(''))).toBe('');
  });

  test('the stack pointer is read of a thread that waits in a system call', () => {
    const waiting = '202 0x7fe6 0x109 0x45b4 0x0 0x0 0xffffffff 0x7ffcef00a760 0x7fe6a3ccff16\n';
    expect(parseStackPointer(waiting)).toBe(0x7ffcef00a760);
    expect(parseStackPointer('-1 0x7ffc00001000 0x401000\n')).toBe(0x7ffc00001000);
    expect([parseStackPointer('running\n'), parseStackPointer('')]).toEqual([undefined, undefined]);
  });
});

describe('malloc', () => {
  const arena = 64 * MIB;
  const heap = () =>
    new Scene()
      .map(MIB, 0x1000, 'rw-p', '/lib/libc.so.6')
      .map(arena, 0x21000)
      .map(arena + 0x21000, 64 * MIB - 0x21000, '---p');

  test('an arena, and what is kept for it', () => {
    const scene = heap()
      .write(arena, arena + 0x30, 0, 0x21000, 0x21000)
      .write(arena + 0x30 + 270 * 8, MIB);
    expect(scene.labels()).toMatchObject({
      '0x4000000': '[malloc arena 1]',
      '0x4021000': '[malloc arena 1]',
    });
  });

  test('an arena stays one where a program has a stack in it', () => {
    const scene = heap()
      .write(arena, arena + 0x30, 0, 0x21000, 0x21000)
      .write(arena + 0x30 + 270 * 8, MIB);
    scene.threads.push({ tid: 5, name: 'worker', stackPointer: arena + 0x8000 });
    expect(scene.labels()['0x4000000']).toBe('[malloc arena 1]');
    // What is kept for the arena before is as small as a guard.
    const next = new Scene()
      .map(MIB, 0x1000, 'rw-p', '/lib/libc.so.6')
      .map(arena - 0x1000, 0x1000, '---p')
      .map(arena, 0x21000)
      .write(arena, arena + 0x30, 0, 0x21000, 0x21000)
      .write(arena + 0x30 + 270 * 8, MIB);
    next.threads.push({ tid: 5, name: 'worker', stackPointer: arena + 0x8000 });
    expect(next.labels()['0x4000000']).toBe('[malloc arena 1]');
  });

  test('blocks stay blocks where a program has a stack in one of them', () => {
    const whole = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x40002);
    const part = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x30002);
    for (const scene of [whole, part])
      scene.threads.push({ tid: 5, name: 'worker', stackPointer: MIB + 0x8000 });
    expect(whole.labels()).toEqual({ '0x100000': '[malloc: large block]' });
    expect(part.labels()).toEqual({ '0x100000': '[malloc: large block?]' });
  });

  test.each([
    ['lies beyond its end', [arena + 0x30, 0, 0x22000, 0x21000]],
    ['has another length', [arena + 0x30, 0, 0x20000, 0x20000]],
    ['has its arena in the middle of nowhere', [0x7000_0000_0030, 0, 0x21000, 0x21000]],
    ['has its arena elsewhere in itself', [arena + 0x80, 0, 0x21000, 0x21000]],
    ['is empty', [arena + 0x30, 0, 0, 0x21000]],
  ])('a heap that %s is none', (_, words) => {
    expect(
      heap()
        .write(arena, ...words)
        .labels()['0x4000000'],
    ).toBe('[anon]');
  });

  test('arenas are numbered from the oldest on, by what each says of the next', () => {
    const scene = new Scene().map(MIB, 0x1000, 'rw-p', '/lib/libc.so.6');
    const order = [3, 1, 2];
    const at = (number: number) => (order.indexOf(number) + 1) * arena;
    for (const number of [1, 2, 3]) scene.write(at(number), at(number) + 0x30, 0, 0x21000, 0x21000);
    for (const number of [3, 1, 2]) scene.map(at(number), 0x21000);
    const next = (number: number, address: number) => scene.write(at(number) + 0x30 + 270 * 8, address);
    next(1, MIB);
    next(2, at(1) + 0x30);
    next(3, at(2) + 0x30);
    expect(Object.values(scene.labels()).slice(1)).toEqual(order.map((number) => `[malloc arena ${number}]`));
  });

  test('large blocks, one or many', () => {
    const one = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x40002);
    expect(one.labels()).toEqual({ '0x100000': '[malloc: large block]' });
    const two = new Scene()
      .map(MIB, 0x40000)
      .write(MIB, 0, 0x30002)
      .write(MIB + 0x30000, 0, 0x10002);
    expect(two.labels()).toEqual({ '0x100000': '[malloc: large blocks]' });
    const aligned = new Scene().map(MIB, 0x40000).write(MIB + 0xff0, 0xff0, 0x3f112);
    expect(aligned.labels()).toEqual({ '0x100000': '[anon]' });
    const gap = new Scene().map(MIB, 0x40000).write(MIB + 0xff0, 0xff0, 0x3f012);
    expect(gap.labels()).toEqual({ '0x100000': '[malloc: large block]' });
  });

  test('large blocks where pages are of 16 KiB', () => {
    const scene = new Scene().map(MIB, 0x40000).write(MIB + 0x3ff0, 0x3ff0, 0x3c012);
    scene.pageSize = 16384;
    expect(scene.labels()).toEqual({ '0x100000': '[malloc: large block]' });
    scene.write(MIB + 0x3ff0, 0x3ff0, 0x39012);
    expect(scene.labels()).toEqual({ '0x100000': '[anon]' });
  });

  test('a block with something behind it is only likely, and one that is longer than its mapping is none', () => {
    const before = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x30002);
    expect(before.labels()).toEqual({ '0x100000': '[malloc: large block?]' });
    const small = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x1002);
    expect(small.labels()).toEqual({ '0x100000': '[anon]' });
    const long = new Scene().map(MIB, 0x40000).write(MIB, 0, 0x41002);
    expect(long.labels()).toEqual({ '0x100000': '[anon]' });
  });
});

describe('V8', () => {
  const chunk = 0x4_0000_0000;
  const space = 0x10_0100;
  const heap = 0x10_0800;
  const methods = 0x40_0000;
  const CHUNK = 1 << 18;

  /** A chunk as in Node.js 20, and the space that it is in. */
  function node20(overrides: Record<number, number> = {}, spaceWords = [methods, heap, 2]): Scene {
    const words = [CHUNK, 4, heap, chunk + 0x1148, chunk + CHUNK, 0, 0, 0, space, methods, chunk, CHUNK];
    for (const [index, word] of Object.entries(overrides)) words[Number(index)] = word;
    return new Scene()
      .map(MIB, 0x1000)
      .map(methods, 0x1000, 'r--p', '/bin/node')
      .map(chunk, CHUNK)
      .write(space, ...spaceWords)
      .write(chunk, ...words);
  }
  const labelOf = (scene: Scene) => scene.labels()['0x400000000'];

  test('a chunk in each of the forms', () => {
    expect(labelOf(node20())).toBe('[v8 old space]');
    const node22 = node20().write(
      chunk,
      4,
      chunk,
      CHUNK,
      heap,
      chunk + 0x1140,
      chunk + CHUNK,
      0,
      0,
      0,
      space,
      methods,
      chunk,
      CHUNK,
    );
    expect(labelOf(node22)).toBe('[v8 old space]');
    const described = 0x10_0400;
    const node24 = node20()
      .write(chunk, 0x184, described, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
      .write(described, methods, chunk, CHUNK, 0, 0, 0, CHUNK, chunk + CHUNK, heap, chunk + 0x10, space);
    expect(labelOf(node24)).toBe('[v8 old space]');
  });

  test('young objects are told by the flags as well as by the space', () => {
    expect(labelOf(node20({ 1: 0x12 }, [methods, heap, 1]))).toBe('[v8 new space]');
    // What the two disagree on is not said.
    expect(labelOf(node20({ 1: 4 }, [methods, heap, 1]))).toBe('[v8 heap]');
    expect(labelOf(node20({ 1: 0x12 }))).toBe('[v8 heap]');
    expect(labelOf(node20({}, [methods, heap, 200]))).toBe('[v8 heap]');
    // Code cannot lie where nothing may be executed; nor can anything be written where objects never change.
    expect(labelOf(node20({}, [methods, heap, 0]))).toBe('[v8 heap]');
  });

  test.each<[string, Scene]>([
    ['tells another address', node20({ 10: chunk + CHUNK })],
    ['tells two lengths', node20({ 11: CHUNK * 2 })],
    ['has objects beyond its end', node20({ 4: chunk + CHUNK + 8 })],
    ['begins before itself', node20({ 3: chunk - 8 })],
    ['names a space that is not there', node20({ 8: 0x7000_0000 })],
    ['names a space at no address of one', node20({ 8: space + 1 })],
    ['names a space of another heap', node20({}, [methods, heap + 8, 2])],
    ['names a space whose methods can be written', node20({}, [heap, heap, 2])],
    ['has no heap', node20({ 2: 0 }, [methods, 0, 2])],
  ])('a chunk that %s is none', (_, scene) => {
    expect(labelOf(scene)).toBe('[anon]');
  });

  test('a chunk that covers a part of its mapping only is likely', () => {
    expect(labelOf(node20())).toBe('[v8 old space]');
    const scene = new Scene()
      .map(MIB, 0x1000)
      .map(methods, 0x1000, 'r--p', '/bin/node')
      .map(chunk, CHUNK * 3)
      .write(space, methods, heap, 2)
      .write(chunk, CHUNK, 4, heap, chunk + 0x1148, chunk + CHUNK, 0, 0, 0, space, methods, chunk, CHUNK);
    expect(labelOf(scene)).toBe('[v8 old space?]');
  });

  test('the memory of WebAssembly is told by what is kept behind it, in a process with V8 only', () => {
    const [at, bytes] = [0x10_0000_0000, 16 << 16];
    const add = (scene: Scene) => scene.map(at, bytes).map(at + bytes, 8 * 2 ** 30 - bytes, '---p');
    expect(add(node20()).labels()).toMatchObject({
      '0x1000000000': '[wasm memory]',
      '0x1000100000': '[wasm memory]',
    });
    expect(add(new Scene()).labels()).toEqual({ '0x1000000000': '[anon]', '0x1000100000': '[reserved]' });
  });
});

describe('variables without values in the file', () => {
  const base = 0x40_0000;
  const ELF = [0x00010102464c457f, 0, 0x003e0003, 0, 64, 0, 0x0038_0040_0000_0000, 2];
  const load = (offset: number, address: number, inFile: number, inMemory: number) => [
    1,
    offset,
    address,
    address,
    inFile,
    inMemory,
    0x1000,
  ];
  const scene = (behind: number) =>
    new Scene()
      .map(base, 0x1000, 'r--p', '/lib/libx.so')
      .map(base + 0x1000, 0x1000, 'rw-p', '/lib/libx.so', 0x1000)
      .map(base + 0x2000, behind)
      .write(base, ...ELF)
      .write(base + 64, ...load(0, 0, 0x900, 0x900), ...load(0x1000, 0x1000, 0x900, 0x3000));

  test('end where the file says', () => {
    expect(scene(0x2000).labels()['0x402000']).toBe('[bss: libx.so]');
    // Joined with something else by the kernel.
    expect(scene(0x3000).labels()['0x402000']).toBe('[bss: libx.so?]');
    // Which a sure owner outweighs, and so does what takes more of it.
    const block = scene(0x3000).write(base + 0x2000, 0, 0x3002);
    expect(block.labels()['0x402000']).toBe('[malloc: large block]');
    expect(scene(64 * MIB).labels()['0x402000']).toBe('[anon]');
  });

  test('are not what lies behind a file without any', () => {
    const none = scene(64 * MIB).write(
      base + 64,
      ...load(0, 0, 0x900, 0x900),
      ...load(0x1000, 0x1000, 0x900, 0x900),
    );
    expect(none.labels()['0x402000']).toBe('[anon]');
    const noProgram = scene(0x2000).write(base, 0x6c69_6d65);
    expect(noProgram.labels()['0x402000']).toBe('[anon]');
  });

  test('without the headers, by their place', () => {
    const hidden = scene(0x2000);
    hidden.isReadable = false;
    expect(hidden.labels()['0x402000']).toBe('[bss: libx.so?]');
  });

  test('a header that lies makes nothing of it, nor takes long', () => {
    const liar = scene(0x2000).write(base + 56, 0xffff_ffff_ffff);
    expect(liar.labels()['0x402000']).toBe('[bss: libx.so?]');
    const far = scene(0x2000).write(base + 32, 2 ** 52);
    expect(far.labels()['0x402000']).toBe('[bss: libx.so?]');
  });
});

describe('the dynamic linker', () => {
  const [base, own, debug] = [0x40_0000, 0x50_0000, 0x60_0000];
  /** A program whose list of libraries has three entries in one mapping, and one in another. */
  function linked(entries: number[] = [own, own + 0x100, own + 0x200, own + 0x2000]): Scene {
    const scene = new Scene()
      .map(base, 0x1000, 'r--p', '/bin/program')
      .map(base + 0x1000, 0x1000, 'rw-p', '/bin/program', 0x1000)
      .map(own, 0x1000)
      .map(own + 0x2000, 0x1000)
      .map(debug, 0x1000, 'rw-p', '/lib/ld.so', 0x1000)
      .write(base, 0x00010102464c457f, 0, 0x003e0003, 0, 64, 0, 0x0038_0040_0000_0000, 2)
      .write(base + 64, 1, 0, 0, 0, 0x900, 0x900, 0x1000, 2, 0x1000, 0x1000, 0x1000, 0x40, 0x40, 8)
      .write(base + 0x1000, 5, 1, 21, debug)
      .write(debug, 1, entries[0]!);
    for (const [index, at] of entries.entries())
      scene.write(at, base, 0, base + 0x1000, entries[index + 1] ?? 0, entries[index - 1] ?? 0);
    return scene;
  }

  test('is where its list of libraries is', () => {
    expect(linked().labels()).toMatchObject({ '0x500000': '[ld.so?]', '0x502000': '[ld.so?]' });
  });

  test('is nowhere where the list does not hold together', () => {
    const torn = linked().write(own + 0x220, own);
    expect(torn.labels()).toMatchObject({ '0x500000': '[ld.so?]', '0x502000': '[anon]' });
    const away = linked().write(debug, 1, 0x7000_0000);
    expect(away.labels()).toMatchObject({ '0x500000': '[anon]' });
    const circle = linked().write(own + 0x18, own);
    expect(circle.labels()).toMatchObject({ '0x502000': '[anon]' });
  });

  test('is nowhere where the mappings have changed since they were listed', () => {
    const scene = linked([0x7000_0000, own]);
    scene.hasNewer = true;
    expect(scene.labels()).toMatchObject({ '0x500000': '[anon]' });
  });

  test('is not in what may be an allocator', () => {
    const scene = linked([own, 0x70_0000]).map(0x70_0000, MIB);
    expect(scene.labels()).toMatchObject({ '0x500000': '[ld.so?]', '0x700000': '[anon]' });
  });
});

describe('more than is looked at', () => {
  test('counts as what was looked at', () => {
    const scene = new Scene().map(2 ** 32, 2 ** 32);
    for (let block = 0; block < 5000; block++) scene.write(2 ** 32 + block * 0x1000, 0, 0x1002);
    expect(Object.values(scene.labels())).toEqual(['[malloc: large blocks?]']);
  });
});

describe('many mappings', () => {
  const COUNT = 2000;

  test.each<[string, (scene: Scene) => unknown]>([
    [
      'data beside code of a virtual machine',
      (scene) => {
        scene.map(0x1000, 0x1000, 'r-xp', '/lib/libjvm.so');
        for (let index = 0; index < COUNT; index++)
          scene.map(2 ** 40 + index * 4096, 4096, index % 2 ? 'rw-p' : 'rwxp');
      },
    ],
    [
      "V8's code",
      (scene) => {
        const [methods, space, heap, CHUNK] = [0x40_0000, 0x50_0100, 0x50_0800, 1 << 18];
        scene.map(methods, 0x1000, 'r--p', '/bin/node').map(space - 0x100, 0x1000);
        scene.write(space, methods, heap, 3);
        for (let index = 0; index < COUNT; index++) {
          const at = 2 ** 40 + index * CHUNK;
          scene.map(at, CHUNK, 'rwxp');
          scene.write(at, CHUNK, 0, heap, at + 0x1148, at + CHUNK, 0, 0, 0, space, methods, at, CHUNK);
        }
      },
    ],
    [
      'files that say that they take all of it',
      (scene) => {
        for (let index = 0; index < COUNT; index++) {
          const at = 2 ** 40 + index * 0x2000;
          scene.map(at, 0x1000, 'r--p', `/lib/${index}.so`).map(at + 0x1000, 0x1000);
          scene.write(at, 0x00010102464c457f, 0, 0x003e0003, 0, 64, 0, 0x0038_0040_0000_0000, 1);
          scene.write(at + 64, 1, 0, 0, 0, 0x900, 2 ** 32, 0x1000);
        }
      },
    ],
  ])('without a gap are not gone over from each of them: %s', (_, make) => {
    const scene = new Scene();
    make(scene);
    expect(Object.keys(scene.labels()).length).toBeGreaterThan(COUNT);
    // Each recogniser looks at each of them once, or a few times, and there are twenty.
    expect(scene.looks).toBeLessThan(COUNT * 300);
  });

  test('each is looked at a few times at most', () => {
    const scene = new Scene();
    for (let index = 1; index <= 2000; index++) scene.map(index * 4 * MIB, 2 * MIB);
    const labels = Object.values(scene.labels());
    expect(new Set(labels)).toEqual(new Set(['[anon]']));
    expect(scene.reads).toBeLessThan(2000 * 8);
  });
});

describe('labels', () => {
  test('of what nobody has a name for say what is beside it', () => {
    const at = (start: number, name = '', owner?: Owner) => ({ start, end: start + 4096, name, owner });
    const go = at(0x1000, '', { name: '[go heap]', kind: 'go-heap', sure: false });
    const file = at(0x3000, '/lib/li\x1bb.so');
    const unknown = at(0x2000);
    expect(besideLabel(unknown, go, file)).toBe('after [go heap?]');
    expect(besideLabel(unknown, at(0x1000), file)).toBe('before li\\x1bb.so');
    expect(besideLabel(unknown, at(0), at(0x4000, '/x'))).toBeUndefined();
    expect(besideLabel(go, file, file)).toBeUndefined();
    expect(besideLabel(file, go, go)).toBeUndefined();
    expect(besideLabel(unknown, undefined, undefined)).toBeUndefined();
  });

  test('say what is only likely', () => {
    expect(ownerLabel({ name: '[jemalloc]', kind: 'jemalloc', sure: false })).toBe('[jemalloc?]');
    expect(ownerLabel({ name: '[jemalloc]', kind: 'jemalloc', sure: true })).toBe('[jemalloc]');
    expect(ownerLabel({ name: 'x\u202e', kind: 'file', sure: false })).toBe('x\\u202e?');
    expect(ownedLabel({ name: '' }, undefined)).toBe('[anon]');
    expect(
      ownedLabel({ name: '/lib/a.so', deleted: true }, { name: '/lib/a.so', kind: 'library', sure: true }),
    ).toBe('/lib/a.so (deleted)');
  });
});
