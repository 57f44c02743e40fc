/** Text for people: sizes, counts, colours, and names that come from outside. */
import picocolors from 'picocolors';

export { hex, humanBytes, humanCount, mappingLabel, plural, printable } from '../query/internal.js';

/** What the terminal at the other end can show. */
export interface Style {
  readonly colors: ReturnType<typeof picocolors.createColors>;
  /** Block and line-drawing characters may be used. */
  readonly unicode: boolean;
  /** Terminal columns; infinite where there is no terminal. */
  readonly columns: number;
}

/** @param color false by `--no-color` */
export function outputStyle(color: boolean, stream: NodeJS.WriteStream = process.stdout): Style {
  const { env } = process;
  const terminal = stream.isTTY === true && env['TERM'] !== 'dumb';
  const forced = env['FORCE_COLOR'] !== undefined && env['FORCE_COLOR'] !== '0';
  const refused = !color || (env['NO_COLOR'] ?? '') !== '';
  return {
    colors: picocolors.createColors(!refused && (terminal || forced)),
    unicode:
      env['TERM'] !== 'linux' && !/^(C|POSIX)$/.test(env['LC_ALL'] || env['LC_CTYPE'] || env['LANG'] || ''),
    columns: stream.isTTY === true ? stream.columns || 80 : Number.POSITIVE_INFINITY,
  };
}
