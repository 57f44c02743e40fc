// One virtual machine: started, listened to, ended. It is emulated, so that it needs no hardware support and no rights, and
// whatever happens in it stays there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** The emulator of each architecture, as Debian calls it, and what its machines are. */
const EMULATORS = {
  amd64: {
    program: process.env.PMSCAN_QEMU ?? 'qemu-system-x86_64',
    console: 'ttyS0',
    machine: ['-vga', 'none', '-M', 'q35', '-cpu', 'max,la57=off'],
    acceleration: process.env.PMSCAN_QEMU_ACCEL,
  },
  arm64: {
    program: process.env.PMSCAN_QEMU_ARM64 ?? 'qemu-system-aarch64',
    console: 'ttyAMA0',
    // Pointer authentication as the architecture defines it takes most of an emulated processor's time.
    machine: ['-M', 'virt', '-cpu', 'max,pauth-impdef=on'],
  },
};

/** The name of an architecture's emulator. */
export const emulatorOf = (architecture) => EMULATORS[architecture].program;

const MEMORY = '2G';
/** For switching itself off. */
const OFF_MS = 5000;

function machineArguments(kernel, initrd, { append = '', display }) {
  const { console, machine, acceleration = 'tcg,thread=multi' } = EMULATORS[kernel.architecture];
  const commandLine = `console=${console} panic=-1 quiet mitigations=off ${append}`.trim();
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-nic', 'none'],
    ...[...machine, '-accel', acceleration],
    ...['-m', MEMORY, '-smp', '2', '-kernel', kernel.image, '-initrd', initrd, '-append', commandLine],
    ...display,
  ];
}

function start(kernel, args, stdio) {
  return spawn(emulatorOf(kernel.architecture), args, { stdio });
}

/** Clock ticks of /proc/PID/stat are hundredths of a second on x86. */
const TICK_MS = 10;

/** How long a program has used processors; 0 when it has just ended. */
function processorMs(pid) {
  try {
    // What comes before, the program's name, may have spaces.
    const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ').at(-1).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return 0;
  }
}

/**
 * Boots `kernel` with the archive `initrd` and reports what the guest says.
 *
 * @param options.console file that gets the guest's console
 * @param options.silenceMs ends the machine when nothing was heard for so long
 * @param options.onMessage called with each message of the guest, and with how long the machine has used processors: unlike
 *   the time that passes, this says the same on a machine that has much else to do
 * @returns {Promise<{ done: boolean, silent: boolean, console: string, ms: number }>}
 */
export async function runMachine(kernel, initrd, { console, append, silenceMs, onMessage, signal }) {
  const started = performance.now();
  const display = [
    ...['-serial', `file:${console}`, '-device', 'virtio-serial-pci'],
    ...['-chardev', 'stdio,id=results,signal=off', '-device', 'virtserialport,chardev=results,name=results'],
  ];
  const child = start(kernel, machineArguments(kernel, initrd, { append, display }), [
    'pipe',
    'pipe',
    'pipe',
  ]);
  const closed = once(child, 'close');
  const end = () => child.kill('SIGKILL');
  let done = false;
  let silent = false;
  let trouble = '';
  const timer = setTimeout(() => {
    silent = true;
    end();
  }, silenceMs);
  signal?.addEventListener('abort', end);
  child.stderr.setEncoding('utf8').on('data', (text) => {
    trouble += text;
  });
  try {
    await once(child, 'spawn');
    for await (const line of createInterface({ input: child.stdout })) {
      timer.refresh();
      const message = JSON.parse(line);
      if (message.done) {
        done = true;
        // A guest in which something hangs may not get to switch itself off.
        setTimeout(end, OFF_MS).unref();
      }
      onMessage(message, processorMs(child.pid));
    }
    const [code] = await closed;
    if (code !== 0 && !done && !silent && !signal?.aborted)
      throw new Error(`${emulatorOf(kernel.architecture)} ended with ${code}: ${trouble.trim()}`);
    return {
      done,
      silent,
      console: readFileSync(console, 'utf8'),
      ms: Math.round(performance.now() - started),
    };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', end);
    closed.catch(() => undefined);
    if (child.pid !== undefined && child.exitCode === null) end();
  }
}

/** A shell in the guest, on this terminal. */
export async function runShell(kernel, initrd, { append, signal }) {
  const display = ['-serial', 'mon:stdio'];
  const child = start(kernel, machineArguments(kernel, initrd, { append, display }), 'inherit');
  signal.addEventListener('abort', () => child.kill('SIGKILL'));
  await once(child, 'spawn');
  await once(child, 'close');
}
