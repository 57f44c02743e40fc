/** Cells as a file has them: base64 of 16-bit little-endian words. */
export function decodeWords(base64: string): Uint16Array {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return new Uint16Array(bytes.buffer, 0, bytes.length >> 1);
}
