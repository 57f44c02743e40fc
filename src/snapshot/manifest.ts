/**
 * A manifest: what a snapshot is besides the bytes of its pages.
 *
 *      0  "PMSNAP1\n"
 *      8  check value of bytes 0 to 7 and of all from byte 24 on: the first 16 bytes of SHA-256
 *     24  u64 number   u64 base   u64 first   u64 milliseconds since 1970
 *     56  u32 lengths of the sections pages, written, categories: of the last, 2^32 - 1 when it is that of the base
 *     68  u32 length of the head   u32 1 when the head has mappings, 0 when they are those of the base
 *     76  u32 length of the sections as they are stored
 *     80  the sections one behind the other, compressed with raw deflate; then the head, as JSON, compressed by itself
 *
 * Those who go over many manifests need no heads.
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { ProcessFacts, StateMapping, ThreadState } from '../core/internal.js';
import { CHECK_BYTES, checkValue } from './block.js';
import { SnapshotError } from './errors.js';

const MAGIC = 'PMSNAP1\n';
const CHECKED_AT = MAGIC.length + CHECK_BYTES;
const HEAD_AT = 80;
/** In place of a length: it is as in the base. */
const AS_IN_BASE = 0xffffffff;

/** A mapping as it is kept: its pages are in the page table. */
export type StoredMapping = Omit<StateMapping, 'image'> & {
  /** Of holds 'image' and 'header', how much there is from its start on, bytes. */
  readonly imageBytes?: number | undefined;
};

/** Counts of a snapshot, made when it was taken. */
export interface SnapshotCounts {
  /** Pages in the snapshot. */
  readonly pages: number;
  /** Pages whose content differs from the snapshot before. */
  readonly changedPages: number;
  /** Pages that were written since the snapshot before, also with the same content; 0 for the first of a run. */
  readonly writtenPages: number;
  /** Pages whose content was new to the store. */
  readonly newPages: number;
  /** By how much the store has grown, bytes. */
  readonly storedBytes: number;
}

export interface ManifestHead extends SnapshotCounts {
  readonly number: number;
  /** The snapshot that `pages` is a change of; 0 when it has all pages. */
  readonly base: number;
  /** The oldest snapshot that counts: those before it are dropped. */
  readonly first: number;
  /** When it was taken, milliseconds since 1970. */
  readonly timeMs: number;
  /** Of which run of the writer, from 1. */
  readonly run: number;
  readonly pauseMs: number;
  readonly totalMs: number;
  readonly doubts: readonly string[];
  readonly unreadablePages: number;
  /** The categories that `Sections.categories` tells, as a bit set. */
  readonly categories: number;
  readonly facts: ProcessFacts;
  readonly threads: readonly ThreadState[];
  /** Undefined when they are those of `base`. */
  readonly mappings: readonly StoredMapping[] | undefined;
}

/** Sections behind the head, by their names. */
export interface Sections {
  /** `PageTable.encode`. */
  readonly pages: Uint8Array;
  /** Ranges that were written since the snapshot before: `encodeRanges`. */
  readonly written: Uint8Array;
  /** Categories of pages, as scans tell them: `encodeRanges`. Undefined when they are those of `base`. */
  readonly categories: Uint8Array | undefined;
}

/** The fields that every reader needs are decoded; the rest is decoded on demand. */
export interface Manifest extends Pick<ManifestHead, 'number' | 'base' | 'first' | 'timeMs'> {
  /** Whether `head` has mappings: otherwise they are those of `base`. */
  readonly hasMappings: boolean;
  readonly head: ManifestHead;
  readonly sections: Sections;
}

/** What JSON has no form for, as objects with one key. */
function toJson(_: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { base64: Buffer.from(value).toString('base64') };
  if (typeof value === 'bigint') return { hex: value.toString(16) };
  return value;
}

function fromJson(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const { base64, hex } = value as { base64?: unknown; hex?: unknown };
  if (typeof base64 === 'string') return new Uint8Array(Buffer.from(base64, 'base64'));
  if (typeof hex === 'string') return BigInt(`0x${hex}`);
  return value;
}

/** What buffers look like before `toJson` gets to see them. */
function plainBytes<Value>(value: Value): Value {
  if (value instanceof Uint8Array) return new Uint8Array(value) as Value;
  if (Array.isArray(value)) return value.map(plainBytes) as Value;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plainBytes(each)])) as Value;
}

export function encodeManifest({ head, sections }: Pick<Manifest, 'head' | 'sections'>): Buffer {
  const { facts, threads, ...rest } = head;
  const json = Buffer.from(
    JSON.stringify({ ...rest, facts: plainBytes(facts), threads: plainBytes(threads) }, toJson),
  );
  const { pages, written, categories } = sections;
  const packed = deflateRawSync(Buffer.concat([pages, written, categories ?? new Uint8Array()]), {
    level: 1,
  });
  const bytes = Buffer.concat([Buffer.alloc(HEAD_AT), packed, deflateRawSync(json, { level: 1 })]);
  bytes.write(MAGIC, 'latin1');
  [head.number, head.base, head.first, head.timeMs].forEach((value, index) => {
    bytes.writeBigUInt64LE(BigInt(value), CHECKED_AT + index * 8);
  });
  bytes.writeUInt32LE(pages.length, 56);
  bytes.writeUInt32LE(written.length, 60);
  bytes.writeUInt32LE(categories?.length ?? AS_IN_BASE, 64);
  bytes.writeUInt32LE(json.length, 68);
  bytes.writeUInt32LE(head.mappings === undefined ? 0 : 1, 72);
  bytes.writeUInt32LE(packed.length, 76);
  bytes.set(checkOf(bytes), MAGIC.length);
  return bytes;
}

const checkOf = (bytes: Uint8Array) =>
  checkValue(bytes.subarray(0, MAGIC.length), bytes.subarray(CHECKED_AT));

class DecodedManifest implements Manifest {
  readonly number: number;
  readonly base: number;
  readonly first: number;
  readonly timeMs: number;
  readonly hasMappings: boolean;
  readonly #bytes: Buffer;
  #head: ManifestHead | undefined;
  #sections: Sections | undefined;

  constructor(bytes: Buffer) {
    const u64 = (at: number) => Number(bytes.readBigUInt64LE(at));
    this.#bytes = bytes;
    this.number = u64(24);
    this.base = u64(32);
    this.first = u64(40);
    this.timeMs = u64(48);
    this.hasMappings = bytes.readUInt32LE(72) === 1;
  }

  get head(): ManifestHead {
    const bytes = this.#bytes;
    const packed = bytes.subarray(HEAD_AT + bytes.readUInt32LE(76));
    this.#head ??= this.#whole(() => {
      const head = JSON.parse(inflate(packed, bytes.readUInt32LE(68)).toString(), fromJson) as ManifestHead;
      if (!isHeadOf(this, head)) throw new Error('its head is none');
      return head;
    });
    return this.#head;
  }

  get sections(): Sections {
    if (this.#sections !== undefined) return this.#sections;
    const bytes = this.#bytes;
    const [pages, written, categories, packed] = [56, 60, 64, 76].map((at) => bytes.readUInt32LE(at)) as [
      number,
      number,
      number,
      number,
    ];
    const own = categories === AS_IN_BASE ? 0 : categories;
    const content = this.#whole(() =>
      inflate(bytes.subarray(HEAD_AT, HEAD_AT + packed), pages + written + own),
    );
    this.#sections = {
      pages: content.subarray(0, pages),
      written: content.subarray(pages, pages + written),
      categories: categories === AS_IN_BASE ? undefined : content.subarray(pages + written),
    };
    return this.#sections;
  }

  /** Check values find damage, but not a forged manifest. */
  #whole<Value>(work: () => Value): Value {
    try {
      return work();
    } catch (cause) {
      const why = (cause as Error).message;
      throw new SnapshotError('damaged', `Cannot read snapshot ${this.number}: ${why}`, { cause });
    }
  }
}

const HEAD_COUNTS = [
  ...['run', 'pauseMs', 'totalMs', 'unreadablePages', 'categories'],
  ...['pages', 'changedPages', 'writtenPages', 'newPages', 'storedBytes'],
] as const;

/** The last moment that a `Date` can tell, milliseconds. */
const LAST_MS = 8.64e15;

/** Whether a head is that of a manifest, and what is shown of it, or becomes a part of file names, is of the right kind. */
function isHeadOf({ number, base, first, timeMs, hasMappings }: Manifest, head: ManifestHead): boolean {
  if (typeof head !== 'object' || head === null || timeMs > LAST_MS) return false;
  const counts = head as unknown as Record<string, unknown>;
  return (
    head.number === number &&
    head.base === base &&
    head.first === first &&
    head.timeMs === timeMs &&
    HEAD_COUNTS.every((key) => typeof counts[key] === 'number') &&
    Array.isArray(head.doubts) &&
    head.doubts.every((doubt) => typeof doubt === 'string') &&
    Array.isArray(head.threads) &&
    head.facts?.auxv instanceof Uint8Array &&
    Array.isArray(head.mappings) === hasMappings
  );
}

function inflate(bytes: Uint8Array, length: number): Buffer {
  return inflateRawSync(bytes, { maxOutputLength: Math.max(1, length) });
}

/** @throws Error, as a part of a sentence, for what is no manifest */
export function decodeManifest(bytes: Buffer): Manifest {
  const magic = bytes.toString('latin1', 0, MAGIC.length);
  if (/^PMSNAP[2-9]\n$/.test(magic)) throw new Error('a newer version has written it');
  if (bytes.length < HEAD_AT || magic !== MAGIC) throw new Error('it is no manifest');
  if (Buffer.compare(checkOf(bytes), bytes.subarray(MAGIC.length, CHECKED_AT)) !== 0)
    throw new Error('it is not what was written');
  return new DecodedManifest(bytes);
}
