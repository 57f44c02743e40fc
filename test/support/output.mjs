// Waits for programs to say that they are there.
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** The first that a program prints, as text. One that ends without a word is an error, at once, with what it complains of. */
export async function firstOutput(child) {
  const decided = new AbortController();
  const { signal } = decided;
  let complaint = '';
  const listen = (chunk) => {
    complaint += chunk;
  };
  child.stderr?.on('data', listen);
  const ended = once(child, 'close', { signal }).then(([code, by]) => {
    throw new Error(`${child.spawnfile} ended (${by ?? code}) without a word\n${complaint}`);
  });
  try {
    const [text] = await Promise.race([once(child.stdout.setEncoding('utf8'), 'data', { signal }), ended]);
    return text;
  } finally {
    child.stderr?.off('data', listen);
    decided.abort();
    ended.catch(() => undefined);
  }
}

/** What a program says until it says "end", a list of words a line. */
export async function wordsUntilEnd(child) {
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'end') break;
    lines.push(line.split(' '));
  }
  return lines;
}
