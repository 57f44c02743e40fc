/** /proc/PID/fdinfo/FD (man proc_pid_fdinfo), as far as it tells of reads that go past the page cache. */

/** What an io_uring ring shows of itself. */
export interface RingInfo {
  /** Requests that were taken and have not been answered; negative where some are answered more than once. */
  readonly underWay: number;
  /** The kernel's own thread takes requests. */
  readonly hasThread: boolean;
  /** Requests that were made and not yet taken. */
  readonly waiting: number;
  /** Files that are registered with it, which need no descriptor of their own. */
  readonly files: number;
  /** Registered buffers: start and end in turns, bytes. */
  readonly buffers: readonly number[];
  /** Buffers that it does not show: it was busy, or it has them from elsewhere. */
  readonly hiddenBuffers: number;
}

export interface DescriptorInfo {
  /** As for open(2). */
  readonly flags: number;
  /** In /proc/PID/mountinfo. */
  readonly mountId: number | undefined;
  /** Of an io_uring ring. */
  readonly ring: RingInfo | undefined;
}

/** Counters of rings are 32 bits long and run over. */
const difference = (more: number, less: number) => (more - less) | 0;

function parseRing(text: string): RingInfo | undefined {
  const number = (field: string) => {
    const match = new RegExp(`^${field}:\\s*(-?\\d+)`, 'm').exec(text);
    return match === null ? undefined : Number(match[1]);
  };
  const [taken, answered] = [number('CachedSqHead'), number('CachedCqTail')];
  if (taken === undefined || answered === undefined) return undefined;
  const buffers: number[] = [];
  const section = /^UserBufs:\s*(\d+)\n((?:\s+\d+: .*\n)*)/m.exec(text);
  const lines = section?.[2] ?? '';
  for (const [, start, length] of lines.matchAll(/: 0x([0-9a-f]+)\/(\d+)/g)) {
    const from = Number.parseInt(start!, 16);
    if (from > 0) buffers.push(from, from + Number(length));
  }
  const empty = lines.match(/<none>/g)?.length ?? 0;
  return {
    underWay: difference(taken, answered),
    hasThread: (number('SqThread') ?? -1) !== -1,
    waiting: difference(number('SqTail') ?? taken, taken),
    files: number('UserFiles') ?? 0,
    buffers,
    // Without the line, it was busy.
    hiddenBuffers: section === null ? 1 : Number(section[1]) - empty - buffers.length / 2,
  };
}

/** Parses the bytes of /proc/PID/fdinfo/FD. Missing fields count as nothing. */
export function parseFdinfo(bytes: Uint8Array): DescriptorInfo {
  const text = new TextDecoder('latin1').decode(bytes);
  const flags = /^flags:\s*(\d+)/m.exec(text)?.[1];
  const mount = /^mnt_id:\s*(\d+)/m.exec(text)?.[1];
  return {
    flags: flags === undefined ? 0 : Number.parseInt(flags, 8),
    mountId: mount === undefined ? undefined : Number(mount),
    ring: parseRing(text),
  };
}

/** The kinds of the file systems in the bytes of /proc/PID/mountinfo, by the mounts' numbers. */
export function parseMountKinds(bytes: Uint8Array): Map<number, string> {
  const kinds = new Map<number, string>();
  for (const line of new TextDecoder('latin1').decode(bytes).split('\n')) {
    const fields = line.split(' ');
    const dash = fields.indexOf('-');
    if (dash > 0) kinds.set(Number(fields[0]), fields[dash + 1]!);
  }
  return kinds;
}

/** Pages that are pinned in the whole system, by the counters in the bytes of /proc/vmstat; undefined before Linux 5.2. */
export function parsePins(bytes: Uint8Array): { acquired: number; released: number } | undefined {
  const text = new TextDecoder('latin1').decode(bytes);
  const counter = (name: string) => new RegExp(`^nr_foll_pin_${name} (\\d+)$`, 'm').exec(text)?.[1];
  const [acquired, released] = [counter('acquired'), counter('released')];
  if (acquired === undefined || released === undefined) return undefined;
  return { acquired: Number(acquired), released: Number(released) };
}
