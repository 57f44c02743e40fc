/** Patterns for the names of mappings. */

/**
 * A matcher for mapping names: a pattern with `*` or `?` must match the whole name, any other text be in it. Unnamed
 * mappings answer to `[anon]`.
 */
export function mappingMatcher(pattern: string): (name: string) => boolean {
  if (!/[*?]/.test(pattern)) return (name) => (name || '[anon]').includes(pattern);
  return (name) => matchesGlob(pattern, name || '[anon]');
}

/**
 * Whether a text matches a pattern of `*` and `?` as a whole. In time that is at worst the product of their lengths:
 * names come from other processes, and a backtracking expression could be made to take for ever.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  let at = 0;
  let position = 0;
  let star = -1;
  let resume = 0;
  while (position < text.length) {
    if (pattern[at] === '*') {
      star = at++;
      resume = position;
    } else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === text[position])) {
      at++;
      position++;
    } else if (star >= 0) {
      // Let the last star take one character more.
      at = star + 1;
      position = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[at] === '*') at++;
  return at === pattern.length;
}
