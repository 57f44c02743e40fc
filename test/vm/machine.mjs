// One virtual machine: started, listened to, ended. It is emulated, so that it needs no hardware support and no rights, and
// whatever happens in it stays there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

export const QEMU = process.env.PMSCAN_QEMU ?? 'qemu-system-x86_64';
const MEMORY = '2G';
/** For switching itself off. */
const OFF_MS = 5000;

function machineArguments(kernel, initrd, { append = '', display }) {
  const commandLine = `console=ttyS0 panic=-1 quiet mitigations=off ${append}`.trim();
  return [
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-vga', 'none', '-nic', 'none'],
    ...['-M', 'q35', '-accel', process.env.PMSCAN_QEMU_ACCEL ?? 'tcg,thread=multi', '-cpu', 'max,la57=off'],
    ...['-m', MEMORY, '-smp', '2', '-kernel', kernel.image, '-initrd', initrd, '-append', commandLine],
    ...display,
  ];
}

function start(args, stdio) {
  return spawn(QEMU, args, { stdio });
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
  const child = start(machineArguments(kernel, initrd, { append, display }), ['pipe', 'pipe', 'pipe']);
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
      throw new Error(`${QEMU} ended with ${code}: ${trouble.trim()}`);
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
  const child = start(machineArguments(kernel, initrd, { append, display }), 'inherit');
  signal.addEventListener('abort', () => child.kill('SIGKILL'));
  await once(child, 'spawn');
  await once(child, 'close');
}
