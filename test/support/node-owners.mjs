// A Node.js program with something in each of V8's larger spaces, for test/live/owners.test.ts. Prints what V8 says of them, as one line of
// JSON, when nothing moves any more, and waits for the end of its input.
import { writeSync } from 'node:fs';
import v8 from 'node:v8';

const objects = Array.from({ length: 200_000 }, (_, index) => ({ index, text: `x${index}` }));
const large = Array.from({ length: 4 }, (_, index) => new Array(400_000).fill(index));
const buffer = new Uint8Array(24 << 20).fill(7);
const memory = new WebAssembly.Memory({ initial: 64, maximum: 256 });
new Uint8Array(memory.buffer).fill(3);

setTimeout(() => {
  const spaces = Object.fromEntries(
    v8.getHeapSpaceStatistics().map((space) => [space.space_name, space.space_size]),
  );
  writeSync(1, `${JSON.stringify({ spaces, buffer: buffer.length, wasm: memory.buffer.byteLength })}\n`);
}, 100);
process.stdin.on('end', () => process.exit(objects.length + large.length > 0 ? 0 : 1)).resume();
