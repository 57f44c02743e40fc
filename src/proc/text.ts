/**
 * What the text files under /proc have in common: bytes that other people chose, in lines.
 */

/** Which file the bytes were said to be of. */
export type ProcFile = 'maps' | 'smaps' | 'status' | 'stat';

/** How much of an offending line an error shows. */
const SHOWN_BYTES = 160;

/** Printable ASCII as it is, every other byte as `\xNN`, so that an error can go to a terminal. */
function escapeBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes.subarray(0, SHOWN_BYTES)) {
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : hexEscape(byte);
  }
  return bytes.length > SHOWN_BYTES ? `${text}...` : text;
}

function hexEscape(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, '0')}`;
}

/**
 * Text that the kernel does not print: it is of another file, cut off, or of a kernel with another format.
 *
 * @example
 * ```ts
 * import { ProcParseError, parseMaps } from 'pagemap-scan/proc';
 * try {
 *   parseMaps(new TextEncoder().encode('1000-2000 rw-p 0 00:00 0 \nhello\n'));
 * } catch (error) {
 *   console.assert(error instanceof ProcParseError && error.line === 2 && error.text === 'hello');
 * }
 * ```
 */
export class ProcParseError extends Error {
  override readonly name = 'ProcParseError';
  readonly code = 'ERR_PROC_FORMAT';
  readonly file: ProcFile;
  /** The line, counted from 1. */
  readonly line: number;
  /** The line's beginning; bytes that are not printable ASCII read `\xNN`. */
  readonly text: string;

  constructor(file: ProcFile, line: number, bytes: Uint8Array, problem: string) {
    const text = escapeBytes(bytes);
    super(`Cannot parse line ${line} of ${file}: ${problem} in "${text}"`);
    this.file = file;
    this.line = line;
    this.text = text;
  }
}

/** The error for bytes whose last line, from `at` on, has no end. */
export function cutOffError(file: ProcFile, line: number, bytes: Uint8Array, at: number): ProcParseError {
  return new ProcParseError(file, line, bytes.subarray(at), 'no newline at the end (the text was cut off)');
}

/**
 * The same bytes without a subclass's methods: `subarray` and `indexOf` of Node's Buffer, in which files are read,
 * cost several times those of Uint8Array.
 */
export function plainBytes(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

const NEWLINE = 0x0a;

/** Index of the newline that ends the line at `at`, -1 when there is none. */
export function lineEnd(bytes: Uint8Array, at: number): number {
  for (let end = at; end < bytes.length; end++) if (bytes[end] === NEWLINE) return end;
  return -1;
}

const BACKSLASH = 0x5c;
/** Above it, fromCharCode's argument list costs more than it saves. */
const SHORT_BYTES = 512;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Decodes UTF-8 to a string that `nameBytes` can turn back into the bytes. A byte that is not valid UTF-8 reads `\xNN`.
 * Where the bytes themselves spell such an escape, their backslash reads `\x5c`.
 */
export function decodeName(bytes: Uint8Array, from: number, to: number): string {
  const part = bytes.subarray(from, to);
  // Names are short and nearly always ASCII, where this is faster than a call of TextDecoder.
  if (part.length <= SHORT_BYTES && isPlain(part)) {
    return String.fromCharCode.apply(null, part as unknown as number[]);
  }
  let text: string;
  try {
    text = UTF8.decode(part);
  } catch {
    return decodeInvalid(part);
  }
  return part.includes(BACKSLASH) ? escapeEscapes(text) : text;
}

/** ASCII without backslashes. */
function isPlain(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at]! >= 0x80 || bytes[at] === BACKSLASH) return false;
  return true;
}

function escapeEscapes(text: string): string {
  return text.replace(/\\(?=x[0-9a-f]{2})/g, '\\x5c');
}

/** Valid stretches decoded, each byte between them escaped. */
function decodeInvalid(bytes: Uint8Array): string {
  let text = '';
  let validFrom = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = utf8Length(bytes, at);
    if (length > 0) {
      at += length;
    } else {
      text += escapeEscapes(UTF8.decode(bytes.subarray(validFrom, at))) + hexEscape(bytes[at]!);
      validFrom = ++at;
    }
  }
  return text + escapeEscapes(UTF8.decode(bytes.subarray(validFrom)));
}

/** Bytes of the well-formed UTF-8 sequence at `at` (Unicode's table 3-7), 0 when there is none. */
function utf8Length(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (at + length > bytes.length) return 0;
  // Overlong forms, surrogates and values above U+10FFFF show in the second byte.
  const second = bytes[at + 1]!;
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  if (second < least || second > most) return 0;
  for (let next = at + 2; next < at + length; next++) {
    if ((bytes[next]! & 0xc0) !== 0x80) return 0;
  }
  return length;
}

/**
 * The original bytes of a name from one of the parsers: it undoes `\xNN`.
 *
 * @example
 * ```ts
 * import { nameBytes } from 'pagemap-scan/proc';
 * console.assert(nameBytes('/tmp/caf\\xe9').at(-1) === 0xe9);
 * ```
 */
export function nameBytes(name: string): Uint8Array {
  const encoder = new TextEncoder();
  const parts = name.split(/\\x([0-9a-f]{2})/);
  // Every second part is what the group caught.
  const chunks = parts.map((part, index) =>
    index % 2 === 0 ? encoder.encode(part) : Uint8Array.of(Number.parseInt(part, 16)),
  );
  const bytes = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
