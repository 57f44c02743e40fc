// The single executable's entry: the command, or one of the programs that it starts as processes of their own, or the
// licences of what it is made of.
import { getAsset } from 'node:sea';

const PROGRAMS = {
  '@live/attacher': () => import('../../dist/live/attacher.js'),
  '@live/idle': () => import('../../dist/live/idle.js'),
  '@scenario/kernel-process': () => import('../../dist/scenario/kernel-process.js'),
  '@cli/sample': () => import('../../dist/cli/sample.js'),
  '@cli/traceable': () => import('../../dist/cli/traceable.js'),
};

const name = process.argv[2] ?? '';
if (Object.hasOwn(PROGRAMS, name)) {
  // Their arguments begin where they do when Node runs their file.
  process.argv.splice(1, 1);
  PROGRAMS[name]();
} else if (name === '@licences') {
  // Whoever leaves `less` before the end has read enough.
  process.stdout.on('error', ({ code }) => process.exit(code === 'EPIPE' ? 0 : 1));
  process.stdout.write(getAsset('licences', 'utf8'));
} else {
  import('../../dist/cli/main.js');
}
