import { expect, test } from 'vitest';
import { outputStyle } from '../text.js';
import { doctorLines, verdicts } from './doctor.js';

const others = (provider: 'ioctl' | 'fallback', mayAll: boolean) =>
  verdicts([], provider, mayAll)
    .map(({ what }) => what)
    .filter((what) => !/own memory|commands that it starts/.test(what));

test('what an ordinary user can do to his own processes only says so', () => {
  for (const what of others('ioctl', false)) expect(what).toContain("; this user's own only");
  for (const what of others('ioctl', true)) expect(what).not.toContain('own only');
});

test('names each command that looks at processes', () => {
  const commands = ['scan', 'maps', 'watch', 'wss', 'record', 'report', 'serve', 'core', 'snap'];
  const named = (text: string) => commands.filter((command) => new RegExp(`\\b${command}\\b`).test(text));
  expect(named(others('ioctl', true).join('\n'))).toEqual(commands);
  // Soft-dirty bits do not do for these.
  expect(named(others('fallback', true).join('\n'))).toEqual(commands.slice(0, -2));
});

test('lines are as wide as the terminal', () => {
  const long = 'a thing that takes many words to say, '.repeat(4).trim();
  const findings = {
    system: { kernel: 'linux 6.18', 'security modules': long },
    conclusions: verdicts([], 'ioctl', false),
    profile: undefined,
    capabilities: [
      { id: 'ptrace', title: 'ptrace for this user', answer: 'no', how: long, advice: long } as const,
    ],
  };
  const style = { ...outputStyle(false), columns: 80, unicode: true };
  const lines = doctorLines(findings, style);
  expect(lines.filter((line) => line.length > 80)).toEqual([]);
  expect(lines[0]).toBe('kernel            linux 6.18');
  expect(lines[2]).toMatch(/^ {18}\S/);
  const joined = lines.join(' ').replaceAll(/ +/g, ' ');
  expect(joined.split(long)).toHaveLength(4);
  expect(doctorLines(findings, { ...style, columns: Number.POSITIVE_INFINITY })[1]).toContain(long);
});
