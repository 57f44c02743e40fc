/**
 * Joins expositions in Prometheus's text format: the lines of a metric, of all processes, must stand together below one
 * HELP and one TYPE.
 */
export function mergeExpositions(texts: readonly string[]): string {
  if (texts.length === 1) return texts[0]!;
  const families = new Map<string, { readonly about: Set<string>; readonly samples: string[] }>();
  for (const text of texts) {
    let samples: string[] = [];
    for (const line of text.split('\n')) {
      const name = /^# (?:HELP|TYPE|UNIT) (\S+)/.exec(line)?.[1];
      if (name !== undefined) {
        const family = families.get(name) ?? { about: new Set(), samples: [] };
        families.set(name, family);
        family.about.add(line);
        samples = family.samples;
      } else if (line !== '' && !line.startsWith('#')) samples.push(line);
    }
  }
  const lines: string[] = [];
  for (const { about, samples } of families.values()) lines.push(...about, ...samples);
  return lines.map((line) => `${line}\n`).join('');
}
