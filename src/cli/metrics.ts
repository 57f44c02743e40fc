/** `--metrics`, the same for all commands that have it. */
import { type Command, InvalidArgumentError } from 'commander';
import { MetricsError, MetricsHub, pushesMetrics } from '../metrics/internal.js';
import { CliError, EXIT } from './exit.js';
import { printable } from './text.js';
import { version } from './version.js';

/** An address to listen at, or `push`: only to a collector. */
export type MetricsTarget = { readonly host: string; readonly port: number } | 'push';

/** On this machine only; the port that OpenTelemetry has registered for it. */
const DEFAULT_METRICS = { host: '127.0.0.1', port: 9464 } as const;

function parseMetrics(text: string): MetricsTarget {
  if (text === 'push') return text;
  const match = /^(?:\[([0-9a-f:.]+)\]|([^:[\]\s]*)):(\d{1,5})$/i.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new InvalidArgumentError(
      'Give an address to listen on, 127.0.0.1:9464, or `push`; put the process before the option: 1234 --metrics.',
    );
  }
  return { host: match[1] ?? (match[2] || DEFAULT_METRICS.host), port };
}

/** Adds the option; its value is what `metricsOption` reads. */
export function addMetricsOption(command: Command): Command {
  return command.option(
    '--metrics [address]',
    `metrics for Prometheus at HOST:PORT, ${DEFAULT_METRICS.host}:${DEFAULT_METRICS.port} by default; \`push\`: only to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names`,
    parseMetrics,
  );
}

/** @throws CliError where it is to be pushed to nowhere */
export function metricsOption(value: MetricsTarget | true | undefined): MetricsTarget | undefined {
  if (value === 'push' && !pushesMetrics()) {
    throw new CliError(
      EXIT.usage,
      'Cannot tell where to push metrics to: set OTEL_EXPORTER_OTLP_ENDPOINT, http://localhost:4318 for example',
    );
  }
  return value === true ? DEFAULT_METRICS : value;
}

/** Says on standard error where the metrics are, and what goes wrong in pushing. */
export async function startMetrics(target: MetricsTarget): Promise<MetricsHub> {
  try {
    const hub = await MetricsHub.start({
      listen: target === 'push' ? undefined : target,
      toolVersion: version,
      onError: (message) => process.stderr.write(`pmscan: metrics: ${printable(message)}\n`),
    });
    if (hub.url !== undefined) process.stderr.write(`pmscan: metrics at ${hub.url}\n`);
    return hub;
  } catch (error) {
    if (error instanceof MetricsError) throw new CliError(EXIT.failed, error.message, { cause: error });
    throw error;
  }
}
