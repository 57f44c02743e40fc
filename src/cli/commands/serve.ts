import { type Command, InvalidArgumentError } from 'commander';
import { codeOf } from '../../abi/internal.js';
import { ProcessHandle, requireSmallPages } from '../../live/internal.js';
import type { Session } from '../../web/index.js';
import { CliError, EXIT, type ExitCode } from '../exit.js';
import { Ending } from '../interrupt.js';
import { addMetricsOption, type MetricsTarget, metricsOption, startMetrics } from '../metrics.js';
import { DEFAULT_BUDGET, optionOr, parseBudget, parseDuration } from '../options.js';
import { resolveTarget, tellBusy } from '../target.js';
import { printable } from '../text.js';

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly interval: number;
  readonly accesses?: boolean | undefined;
  readonly budget: number;
  readonly metrics?: MetricsTarget | true | undefined;
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('Give a port, 0 to 65535.');
  return port;
}

const LOCAL = new Set(['127.0.0.1', '::1', 'localhost']);

function listenError(error: unknown, { host, port }: ServeOptions): Error {
  const code = codeOf(error);
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program listens there; give another --port, or none for any that is free',
    EACCES: 'ports below 1024 are for root; give another --port',
    EADDRNOTAVAIL: 'that is no address of this machine',
    ENOTFOUND: 'there is no such host',
  };
  const hint = hints[code ?? ''];
  if (hint === undefined) return error as Error;
  return new CliError(EXIT.failed, `Cannot listen on ${host}, port ${port}: ${hint}`, { cause: error });
}

/** Says once what becomes of a process that is looked at without anybody seeing it. */
function tellOf(session: Session): void {
  let told = false;
  session.subscribe((message) => {
    if (message.type !== 'tracking') return;
    const { state, why = '', skipped = [] } = message.tracking;
    if (!told) tellBusy(skipped);
    told ||= skipped.some(({ reason }) => reason === 'busy');
    if (state !== 'off' && state !== 'ended') return;
    const what =
      state === 'off' ? `${session.about.subject ?? 'writes'} cannot be tracked` : 'its metrics end';
    process.stderr.write(
      `pmscan: ${printable(session.about.name)} ${session.pid}: ${what}: ${printable(why)}\n`,
    );
  });
}

/** The work of `pmscan serve`. */
export async function serveCommand(targets: readonly string[], options: ServeOptions): Promise<ExitCode> {
  const { port, interval: intervalMs } = options;
  const host = options.host.toLowerCase();
  const subject = options.accesses ? 'accesses' : 'writes';
  requireSmallPages('serve pictures of processes');
  const metricsTarget = metricsOption(options.metrics);
  if (metricsTarget !== undefined && targets.length === 0) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell which processes to give metrics of: name them, `pmscan serve redis-server --metrics`',
    );
  }
  const pids = [...new Set(targets.map(resolveTarget))];
  for (const pid of pids) {
    using _handle = new ProcessHandle(pid);
  }
  // Other commands do without the server.
  const { Meter, PageServer } = await import('../../web/index.js');
  using ending = new Ending();
  const hub = metricsTarget === undefined ? undefined : await startMetrics(metricsTarget);
  const server = new PageServer({
    host: host === 'localhost' ? '127.0.0.1' : host,
    port,
    intervalMs,
    pids,
    subject,
    budget: options.budget,
  });
  try {
    if (hub !== undefined) {
      for (const pid of pids)
        tellOf(server.watch(pid, (about) => new Meter(hub.add({ ...about, about: subject }))));
    }
    await server.listen().catch((error) => {
      throw listenError(error, options);
    });
    process.stdout.write(`${server.url}\n`);
    process.stderr.write('pmscan: open this address in a browser; Ctrl-C ends\n');
    if (!LOCAL.has(host)) {
      process.stderr.write(
        'pmscan: others on the network can reach it, unencrypted: anyone who knows the address sees all that you can\n',
      );
    }
    await ending.requested;
    return EXIT.done;
  } finally {
    await server.close();
    await hub?.[Symbol.asyncDispose]();
  }
}

/** Adds `pmscan serve` to the program. */
export function addServeCommand(
  program: Command,
  run: (work: () => Promise<ExitCode>) => Promise<void>,
): void {
  const command = program
    .command('serve')
    .description('show where memory is and what is written, or accessed, in a web page')
    .argument('[pids...]', 'process numbers or names to begin with; the page offers all others, too')
    .option('--port <port>', 'port to listen on; 0 is any that is free', parsePort, 0)
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .addOption(optionOr('--interval <time>', 'how often to look', parseDuration, '1s'))
    .addOption(
      optionOr(
        '--budget <share>',
        'the share of a processor that looking may cost each process: intervals get longer to keep it',
        parseBudget,
        DEFAULT_BUDGET,
      ),
    )
    .option('--accesses', 'begin with accesses (reads, writes, executions) instead of writes (Linux 7.3)');
  addMetricsOption(command)
    .addHelpText(
      'after',
      `
Prints the address of the page. A random word in it keeps others out. Processes are looked at only while a page shows
them, and nothing is left behind in them. Ctrl-C ends.

On Linux 7.3 and later, the page has a switch: writes, or accesses, with how long each page was left alone. It tracks all pages then:
the first access to each costs the process a page fault.

With --metrics, the processes given are looked at from the beginning to their end, whether a page shows them or not.

Examples:
  pmscan serve
  pmscan serve redis-server --port 7070
  pmscan serve redis-server --accesses
  pmscan serve postgres redis-server --metrics            metrics of both at 127.0.0.1:9464/metrics
  ssh -L 7070:127.0.0.1:7070 server pmscan serve --port 7070    from elsewhere: open the address that it prints`,
    )
    .action((targets: string[], _options: ServeOptions, command: Command) =>
      run(() => serveCommand(targets, command.optsWithGlobals())),
    );
}
