/** A core file that is done, on its way to a stream or through compression. */
import { read } from 'node:fs';
import { dirname } from 'node:path';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import * as zlib from 'node:zlib';
import { errnoNumber, NotSupportedError } from '../abi/index.js';
import { CoreFile } from './file.js';

export type Compression = 'gzip' | 'zstd';

const readAsync = promisify(read);

/** Bytes read at a time. */
const PIECE_BYTES = 1 << 20;

/** Missing in the types, which are of an older Node. */
const createZstdCompress = (zlib as { createZstdCompress?: () => Transform }).createZstdCompress;

/** @throws PagemapError ENOSYS for one that this Node lacks */
export function checkCompression(compression: Compression): void {
  if (compression !== 'zstd' || createZstdCompress !== undefined) return;
  throw new NotSupportedError('compress with zstd', {
    errno: errnoNumber('ENOSYS')!,
    syscall: 'createZstdCompress',
    needs: 'Node 22.15 or 23.8',
    hint: `Node ${process.version} has none; Node 22.15 and 23.8 brought it. gzip works everywhere, and so does a pipe: -o - | zstd`,
  });
}

async function* piecesOf(fd: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < length; ) {
    const piece = new Uint8Array(Math.min(PIECE_BYTES, length - at));
    const { bytesRead } = await readAsync(fd, piece, 0, piece.length, at);
    if (bytesRead === 0) return;
    yield piece.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/**
 * Sends a core file to a stream, which stays open, or compressed to a file.
 *
 * @returns how many bytes came out
 */
export function sendCore(
  core: CoreFile,
  length: number,
  output: string | Writable,
  compression: Compression | undefined,
  signal: AbortSignal | undefined,
): Promise<number> {
  return sendTo(Readable.from(piecesOf(core.fd, length), { objectMode: false }), output, compression, signal);
}

/** The same for a stream as the source. */
export async function sendTo(
  source: Readable,
  output: string | Writable,
  compression: Compression | undefined,
  signal: AbortSignal | undefined,
): Promise<number> {
  const steps: Transform[] = [];
  // Speed before size: it is most of the work, and most of a core is easy.
  if (compression === 'gzip') steps.push(zlib.createGzip({ level: 1, chunkSize: 1 << 18 }));
  if (compression === 'zstd') steps.push(createZstdCompress!());
  let bytes = 0;
  if (typeof output !== 'string') {
    const count = new Transform({
      transform(chunk: Uint8Array, _, done) {
        bytes += chunk.length;
        done(null, chunk);
      },
    });
    await pipeline([source, ...steps, count, output], { end: false, ...(signal && { signal }) });
    return bytes;
  }
  using file = new CoreFile(output, dirname(output));
  const sink = new Writable({
    write(chunk: Uint8Array, _, done) {
      const offset = bytes;
      bytes += chunk.length;
      file.write(chunk, 0, chunk.length, offset).then(() => done(), done);
    },
  });
  try {
    await pipeline([source, ...steps, sink], { ...(signal && { signal }) });
    await file.publish();
    return file.storedBytes;
  } finally {
    // When it was aborted, too: the number of its descriptor is somebody else's as soon as it is closed.
    await file.settle();
  }
}
