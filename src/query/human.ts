/** Sizes, counts and foreign names as people read them, in a terminal or a page. */

/**
 * What a terminal could act on or be deceived by: control characters (C0, DEL, C1), line separators, zero-width and
 * bidirectional controls, lone surrogates.
 */
const HARMFUL =
  /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Cs}/gu;

/** Text from another process, with every character that is not plain text escaped: `\x1b`, `\u202e`. */
export function printable(text: string): string {
  return text.replace(HARMFUL, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** The name of a mapping as people see it. */
export function mappingLabel({ name, deleted }: { name: string; deleted?: boolean | undefined }): string {
  return `${printable(name) || '[anon]'}${deleted ? ' (deleted)' : ''}`;
}

/** The bytes that each unit letter stands for. Units are binary. */
export const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  K: 2 ** 10,
  M: 2 ** 20,
  G: 2 ** 30,
  T: 2 ** 40,
};

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes with a binary unit and three significant digits: `4 KiB`, `1.25 GiB`, `128 TiB`. */
export function humanBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  // 1023.5 would be shown as 1024 of the smaller unit.
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${UNITS[unit]}`;
}

/**
 * A whole number with thousands separators, the same in every locale. It does not use Intl, which takes some
 * milliseconds for its first number.
 */
export function humanCount(count: number): string {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** `1 page`, `2 pages`. */
export function plural(count: number, noun: string): string {
  return `${humanCount(count)} ${noun}${count === 1 ? '' : 's'}`;
}

export function hex(address: number): string {
  return `0x${address.toString(16)}`;
}
