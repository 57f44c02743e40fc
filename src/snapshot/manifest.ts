/**
 * A manifest: what a snapshot is besides the bytes of its pages.
 *
 *      0  "PMSNAP1\n"
 *      8  u32 how long the rest is before compression, bytes   u32 0
 *     16  check value of bytes 0 to 15 and of the rest: the first 16 bytes of SHA-256
 *     32  the rest, compressed with raw deflate: u32 bytes of the head, the head as JSON, the sections that it names
 */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { ProcessFacts, StateMapping, ThreadState } from '../core/internal.js';
import { CHECK_BYTES, checkValue } from './block.js';

const MAGIC = 'PMSNAP1\n';
const HEAD_BYTES = 16 + CHECK_BYTES;
/** Above what any manifest needs: what says that it has more is damaged. */
const MOST_BYTES = 2 ** 31 - 1;

/** A mapping as it is kept: its pages are in the page table. */
export type StoredMapping = Omit<StateMapping, 'image'> & {
  /** Of holds 'image' and 'header', how much there is from its start on, bytes. */
  readonly imageBytes?: number | undefined;
};

/** What was counted when a snapshot was made. */
export interface SnapshotCounts {
  /** Pages that it holds. */
  readonly pages: number;
  /** Of them, those with other content than in the snapshot before. */
  readonly changedPages: number;
  /** Pages that were written since the snapshot before, whatever with; 0 for the first of a run. */
  readonly writtenPages: number;
  /** Pages whose content the store did not have. */
  readonly newPages: number;
  /** By how much the store has grown, bytes. */
  readonly storedBytes: number;
}

export interface ManifestHead extends SnapshotCounts {
  readonly number: number;
  /** The snapshot that `pages` is told as a change of; 0 when it tells all. */
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

export interface Manifest {
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

export function encodeManifest({ head, sections }: Manifest): Buffer {
  const lengths: Record<string, number> = {};
  const parts: Uint8Array[] = [];
  for (const [name, bytes] of Object.entries(sections) as [string, Uint8Array | undefined][]) {
    if (bytes === undefined) continue;
    lengths[name] = bytes.length;
    parts.push(bytes);
  }
  const { facts, threads, ...rest } = head;
  const json = Buffer.from(
    JSON.stringify(
      { ...rest, sections: lengths, facts: plainBytes(facts), threads: plainBytes(threads) },
      toJson,
    ),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const content = Buffer.concat([length, json, ...parts]);
  const packed = deflateRawSync(content, { level: 1 });
  const bytes = Buffer.alloc(HEAD_BYTES + packed.length);
  bytes.write(MAGIC, 'latin1');
  bytes.writeUInt32LE(content.length, 8);
  bytes.set(checkValue(bytes.subarray(0, 16), packed), 16);
  bytes.set(packed, HEAD_BYTES);
  return bytes;
}

/** @throws Error, as a part of a sentence, for what is no manifest */
export function decodeManifest(bytes: Buffer): Manifest {
  const magic = bytes.toString('latin1', 0, MAGIC.length);
  if (/^PMSNAP[2-9]\n$/.test(magic)) throw new Error('a newer version has written it');
  if (bytes.length < HEAD_BYTES || magic !== MAGIC) throw new Error('it is no manifest');
  const packed = bytes.subarray(HEAD_BYTES);
  if (Buffer.compare(checkValue(bytes.subarray(0, 16), packed), bytes.subarray(16, HEAD_BYTES)) !== 0)
    throw new Error('it is not what was written');
  const length = bytes.readUInt32LE(8);
  if (length > MOST_BYTES) throw new Error('it is too large');
  const content = inflateRawSync(packed, { maxOutputLength: Math.max(1, length) });
  const jsonBytes = content.readUInt32LE(0);
  const { sections: lengths, ...head } = JSON.parse(
    content.toString('utf8', 4, 4 + jsonBytes),
    fromJson,
  ) as ManifestHead & { sections: Record<string, number> };
  let at = 4 + jsonBytes;
  const sections: Record<string, Uint8Array> = {};
  for (const [name, bytesOfIt] of Object.entries(lengths)) {
    sections[name] = content.subarray(at, at + bytesOfIt);
    at += bytesOfIt;
  }
  return {
    head: { ...head, mappings: head.mappings ?? undefined },
    sections: {
      pages: sections['pages'] ?? new Uint8Array(),
      written: sections['written'] ?? new Uint8Array(),
      categories: sections['categories'],
    },
  };
}
