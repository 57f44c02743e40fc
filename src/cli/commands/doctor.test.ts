import { expect, test } from 'vitest';
import { verdicts } from './doctor.js';

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
