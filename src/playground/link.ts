/** Scenarios in links: compressed, behind the #, so that no server learns of them. */

/** A link may be from anybody: what it unpacks to is bounded. */
const MOST_CHARACTERS = 1 << 18;

async function through(
  bytes: Uint8Array<ArrayBuffer>,
  stream: CompressionStream | DecompressionStream,
): Promise<Uint8Array> {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > MOST_CHARACTERS) {
      await reader.cancel();
      throw new Error('Cannot read the link: it is too long');
    }
    pieces.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Text as what may stand behind a #. */
export async function encodeLink(text: string): Promise<string> {
  const packed = await through(new TextEncoder().encode(text), new CompressionStream('deflate-raw'));
  const binary = Array.from(packed, (byte) => String.fromCharCode(byte)).join('');
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** @throws Error for what `encodeLink` does not make */
export async function decodeLink(link: string): Promise<string> {
  let binary: string;
  try {
    binary = atob(link.replaceAll('-', '+').replaceAll('_', '/'));
  } catch (cause) {
    throw new Error('Cannot read the link: it is not whole', { cause });
  }
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  try {
    return new TextDecoder().decode(await through(bytes, new DecompressionStream('deflate-raw')));
  } catch (cause) {
    if ((cause as Error).message.startsWith('Cannot')) throw cause;
    throw new Error('Cannot read the link: it is not whole', { cause });
  }
}
