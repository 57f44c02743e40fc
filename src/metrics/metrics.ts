/** Metrics of tracked processes: Prometheus can scrape them, and they are pushed to an OpenTelemetry collector. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { codeOf, PAGE_SIZE } from '../abi/internal.js';
import { IDLE_LIMITS_MS, mappingKind } from '../model/index.js';
import { PAGE_KINDS } from '../query/internal.js';
import { mergeExpositions } from './exposition.js';
import { NameLabels } from './labels.js';

/** Connections at a time: descriptors are for other things, too. */
const MOST_CONNECTIONS = 64;

/** The host of a Host header, without its port. */
const hostOf = ({ headers }: IncomingMessage) => (headers.host ?? '').replace(/:\d+$/, '').toLowerCase();

const isLoopback = (host: string) => /^(localhost|127(\.\d{1,3}){3}|\[?::1\]?)$/.test(host);

/** The process that the metrics are about. It chooses its names; control characters in them are removed here. */
export interface MetricsSubject {
  readonly pid: number;
  /** As in /proc/PID/comm. */
  readonly name: string;
  /** The machine's name; the system's by default. */
  readonly host?: string | undefined;
  /** What the intervals count; writes by default. For accesses, "written" stands for "accessed". */
  readonly about?: 'writes' | 'accesses' | undefined;
  /** The size of the process's pages, bytes: the `pageSize` of its pagemap. 4,096 by default. */
  readonly pageSize?: number | undefined;
}

export interface MetricsOptions {
  /** Where to listen for scrapes of `/metrics`; port 0 takes a free one. If left out, it does not listen. */
  readonly listen?: { readonly host: string; readonly port: number } | undefined;
  readonly toolVersion: string;
  /** Gets errors of pushing. */
  readonly onError?: ((message: string) => void) | undefined;
}

/** The writes of one interval: an `Interval` of a tracker is one. */
export interface MeasuredInterval {
  readonly intervalMs: number;
  readonly scanMs: number;
  readonly writtenPages: number;
  /** With a sample: how far the true number may be from `writtenPages`, pages. */
  readonly errorPages?: number | undefined;
  readonly mappings: readonly {
    readonly start: number;
    readonly name: string;
    readonly writtenPages: number;
  }[];
}

export interface MeasuredDetails {
  readonly late?: boolean | undefined;
  /** Distinct pages since the beginning. */
  readonly distinctPages?: number | undefined;
  /** Distinct pages by window. */
  readonly workingSet?: readonly { readonly windowMs: number; readonly pages: number }[] | undefined;
  /** Writable mappings that cannot be tracked. */
  readonly untracked?: number | undefined;
  /** An estimate of what the interval cost the process, milliseconds. */
  readonly targetCostMs?: number | undefined;
}

/** A mapping with its pages by `PAGE_KINDS`; null where they cannot be told. */
export interface MeasuredMapping {
  readonly mapping: { readonly start: number; readonly name: string; readonly perms: string };
  readonly kinds: readonly (number | null)[];
  /** Pages in memory that were not accessed for a minute, ten minutes, an hour; null where it is not known yet. */
  readonly idle?: readonly (number | null)[] | undefined;
  /** The kind of its owner; undefined where that is not known. */
  readonly ownerKind?: string | undefined;
}

export type MetricsProblem =
  /** The packages of OpenTelemetry are not installed. */
  | 'missing'
  /** The address cannot be listened on. */
  | 'listen';

/**
 * Metrics cannot be provided: `reason` says why, and the message says what to do.
 *
 * @example
 * ```ts
 * import { MetricsError, MetricsHub } from 'pagemap-scan/metrics';
 * const listen = { host: '127.0.0.1', port: 0 };
 * await using hub = await MetricsHub.start({ listen, toolVersion: '1.0.0' });
 * listen.port = Number(new URL(hub.url!).port);
 * try {
 *   await MetricsHub.start({ listen, toolVersion: '1.0.0' });
 * } catch (error) {
 *   console.assert(error instanceof MetricsError && error.reason === 'listen');
 * }
 * ```
 */
export class MetricsError extends Error {
  override readonly name: string = 'MetricsError';
  readonly code: `ERR_METRICS_${Uppercase<MetricsProblem>}`;
  readonly reason: MetricsProblem;

  constructor(reason: MetricsProblem, why: string, options?: ErrorOptions) {
    super(`Cannot give metrics: ${why}`, options);
    this.code = `ERR_METRICS_${reason.toUpperCase() as Uppercase<MetricsProblem>}`;
    this.reason = reason;
  }
}

/** Whether the environment names a collector to push to, in OpenTelemetry's own variables. */
export function pushesMetrics(env: NodeJS.ProcessEnv = process.env): boolean {
  return (
    (env['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '') !== '' ||
    (env['OTEL_EXPORTER_OTLP_METRICS_ENDPOINT'] ?? '') !== ''
  );
}

const PACKAGES =
  '@opentelemetry/api @opentelemetry/sdk-metrics@2 @opentelemetry/resources@2 @opentelemetry/exporter-prometheus@0.223 @opentelemetry/exporter-metrics-otlp-proto@0.223';

/** The packages are large, and most users need none of them: loaded when they are asked for. */
async function loadPackages() {
  try {
    const [api, sdk, resources, prometheus, otlp] = await Promise.all([
      import('@opentelemetry/api'),
      import('@opentelemetry/sdk-metrics'),
      import('@opentelemetry/resources'),
      import('@opentelemetry/exporter-prometheus'),
      import('@opentelemetry/exporter-metrics-otlp-proto'),
    ]);
    return { api, sdk, resources, prometheus, otlp };
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new MetricsError(
      'missing',
      `the optional packages of OpenTelemetry are not installed beside this one; \`npm install ${PACKAGES}\` does that`,
      { cause },
    );
  }
}

type Packages = Awaited<ReturnType<typeof loadPackages>>;

/** Seconds: from a few mappings to hundreds of GiB. */
const COLLECT_BOUNDARIES = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];

/** The kinds of pages that are in memory, by their indices. */
const RESIDENT = (['huge', 'anonymous', 'file', 'zero'] as const).map((kind) => PAGE_KINDS.indexOf(kind));

/** Names and words of what is told of writes, and of accesses. */
const ABOUT = {
  writes: { total: 'written', set: 'write_working_set', distinct: 'distinct_written', done: 'written' },
  accesses: {
    total: 'accessed',
    set: 'working_set',
    distinct: 'distinct_accessed',
    done: 'read, written or executed',
  },
} as const;

function makeInstruments(
  provider: InstanceType<Packages['sdk']['MeterProvider']>,
  version: string,
  about: keyof typeof ABOUT,
) {
  const meter = provider.getMeter('pagemap-scan', version);
  const { total, set, distinct, done } = ABOUT[about];
  return {
    written: meter.createCounter(`pmscan.memory.${total}`, {
      unit: 'By',
      description: `Memory ${done}: each page counts once an interval, whole`,
    }),
    workingSet: meter.createGauge(`pmscan.memory.${set}`, {
      unit: 'By',
      description: `Distinct memory ${done} within the window of time that ends now`,
    }),
    distinct: meter.createGauge(`pmscan.memory.${distinct}`, {
      unit: 'By',
      description: `Distinct memory ${done} since tracking began`,
    }),
    error: meter.createGauge('pmscan.memory.error', {
      unit: 'By',
      description: `Of a sample: how far memory ${done} in the last interval may be from what is told`,
    }),
    idle: meter.createGauge('pmscan.memory.idle', {
      unit: 'By',
      description: 'Resident memory that was not read, written or executed for at least so long',
    }),
    pages: meter.createGauge('pmscan.memory.pages', {
      unit: '{page}',
      description: 'Pages of 4,096 bytes by what they are; the kinds exclude each other',
    }),
    owned: meter.createGauge('pmscan.memory.owned', {
      unit: 'By',
      description: 'Resident memory by whose it is, as far as that is known',
    }),
    mappings: meter.createGauge('pmscan.mappings', { unit: '{mapping}', description: 'Mappings' }),
    untracked: meter.createGauge('pmscan.mappings.untracked', {
      unit: '{mapping}',
      description: 'Mappings that cannot be tracked',
    }),
    intervals: meter.createCounter('pmscan.intervals', {
      unit: '{interval}',
      description: 'Intervals collected',
    }),
    late: meter.createCounter('pmscan.intervals.late', {
      unit: '{interval}',
      description: 'Intervals that were collected late; nothing is lost by that',
    }),
    cost: meter.createCounter('pmscan.target.cost', {
      unit: 's',
      description: 'Time that the tracking cost the process, about: page faults and stops',
    }),
    collecting: meter.createHistogram('pmscan.collect.duration', {
      unit: 's',
      description: 'How long collecting an interval took',
      advice: { explicitBucketBoundaries: COLLECT_BOUNDARIES },
    }),
  };
}

/** A time from the environment. What is no time is passed over, as OpenTelemetry wants it. */
function milliseconds(variable: string, otherwise: number): number {
  const value = Number(process.env[variable]);
  return Number.isFinite(value) && value >= 1 ? value : otherwise;
}

/** A name from the process as an attribute: no control characters. */
function harmless(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?').slice(0, 100);
}

function windowLabel(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  return seconds % 60 === 0 ? `${seconds / 60}m` : `${seconds}s`;
}

/** Pages by key. A key that was seen before and is gone is at zero, not where it last was. */
function sumBy<T>(
  seen: ReadonlySet<string>,
  items: readonly T[],
  keyOf: (item: T) => string,
  pagesOf: (item: T) => number,
): Map<string, number> {
  const sums = new Map([...seen].map((key) => [key, 0]));
  for (const item of items) {
    const key = keyOf(item);
    sums.set(key, (sums.get(key) ?? 0) + pagesOf(item));
  }
  return sums;
}

type Instruments = ReturnType<typeof makeInstruments>;
type Exporter = InstanceType<Packages['prometheus']['PrometheusExporter']>;

let makeMetrics: (
  instruments: Instruments,
  pageSize: number,
  url: string | undefined,
  end: () => Promise<void>,
) => Metrics;

/** What of a resource stands on each series, since scraped series are told apart by nothing else. */
const CONSTANT_LABELS = /^(host\.name|process\.pid|process\.executable\.name)$/;

/**
 * The metrics of any number of processes, at one address for scrapes. Each process is an OpenTelemetry resource of its
 * own.
 *
 * If the standard environment variables name a collector, metrics are also pushed to it by OTLP
 * (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_RESOURCE_ATTRIBUTES` and so on).
 *
 * @example
 * ```ts
 * import { MetricsHub } from 'pagemap-scan/metrics';
 * const hub = await MetricsHub.start({ listen: { host: '127.0.0.1', port: 0 }, toolVersion: '1.0.0' });
 * const one = hub.add({ pid: 1, name: 'init' });
 * const two = hub.add({ pid: 2, name: 'other' });
 * for (const metrics of [one, two]) metrics.interval({ intervalMs: 1000, scanMs: 1, writtenPages: 0, mappings: [] });
 * const text = await (await fetch(hub.url!)).text();
 * console.assert(text.match(/^pmscan_intervals_total\{/gm)?.length === 2);
 * await hub[Symbol.asyncDispose]();
 * ```
 */
export class MetricsHub implements AsyncDisposable {
  readonly #packages: Packages;
  readonly #options: MetricsOptions;
  readonly #serializer: InstanceType<Packages['prometheus']['PrometheusSerializer']>;
  readonly #scraped = new Set<Exporter>();
  readonly #added = new Set<Metrics>();
  #server: Server | undefined;

  private constructor(packages: Packages, options: MetricsOptions) {
    this.#packages = packages;
    this.#options = options;
    this.#serializer = new packages.prometheus.PrometheusSerializer(undefined, false, CONSTANT_LABELS);
  }

  /** @throws MetricsError where the packages are missing, or the address is taken */
  static async start(options: MetricsOptions): Promise<MetricsHub> {
    const hub = new MetricsHub(await loadPackages(), options);
    const { listen, onError } = options;
    if (pushesMetrics() && onError !== undefined) {
      const { diag, DiagLogLevel } = hub.#packages.api;
      const silent = () => undefined;
      const logger = { error: onError, warn: silent, info: silent, debug: silent, verbose: silent };
      diag.setLogger(logger, { logLevel: DiagLogLevel.ERROR, suppressOverrideMessage: true });
    }
    if (listen === undefined) return hub;
    const timeouts = { headersTimeout: 5000, requestTimeout: 10_000, connectionsCheckingInterval: 1000 };
    const server = createServer(timeouts, (request, response) => {
      // A name of somebody else's choice may be made to stand for this machine, in a browser on it.
      if (isLoopback(listen.host) && !isLoopback(hostOf(request))) {
        response.writeHead(421, { 'content-type': 'text/plain' });
        response.end('This server does not answer to that name\n');
        return;
      }
      // As it came: what is no address at all must not be parsed as one.
      const path = (request.url ?? '/').split('?', 1)[0];
      if (request.method === 'GET' && path === '/metrics') void hub.#answer(response);
      else response.writeHead(404, { 'content-type': 'text/plain' }).end('The metrics are at /metrics\n');
    });
    server.maxConnections = MOST_CONNECTIONS;
    try {
      server.listen(listen.port, listen.host);
      await once(server, 'listening');
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      const why = code === 'EADDRINUSE' ? 'it is in use; choose another port' : message;
      throw new MetricsError('listen', `${listen.host}:${listen.port} is not available: ${why}`, {
        cause,
      });
    }
    hub.#server = server;
    return hub;
  }

  /** Where it can be scraped. */
  get url(): string | undefined {
    const address = this.#server?.address() as AddressInfo | null | undefined;
    if (address === null || address === undefined) return undefined;
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return `http://${host}:${address.port}/metrics`;
  }

  /**
   * Adds the metrics of a process. Its series exist until its `stop`.
   *
   * @param last whether that stops the hub as well
   */
  add(subject: MetricsSubject, last = false): Metrics {
    const { sdk, resources, prometheus, otlp } = this.#packages;
    const readers: InstanceType<Packages['sdk']['MetricReader']>[] = [];
    const exporter =
      this.#server === undefined
        ? undefined
        : new prometheus.PrometheusExporter({ preventServerStart: true });
    if (exporter !== undefined) readers.push(exporter);
    if (pushesMetrics()) {
      const everyMs = milliseconds('OTEL_METRIC_EXPORT_INTERVAL', 60_000);
      const timeoutMs = milliseconds('OTEL_METRIC_EXPORT_TIMEOUT', 30_000);
      readers.push(
        new sdk.PeriodicExportingMetricReader({
          exporter: new otlp.OTLPMetricExporter(),
          exportIntervalMillis: everyMs,
          exportTimeoutMillis: Math.min(timeoutMs, everyMs),
        }),
      );
    }
    const own = resources.resourceFromAttributes({
      'service.name': 'pmscan',
      'service.version': this.#options.toolVersion,
      'host.name': harmless(subject.host ?? hostname()),
      'process.pid': subject.pid,
      'process.executable.name': harmless(subject.name),
    });
    // What the user says of the resource goes before what we know.
    const environment = resources.detectResources({ detectors: [resources.envDetector] });
    const provider = new sdk.MeterProvider({
      resource: resources.defaultResource().merge(own).merge(environment),
      readers,
    });
    if (exporter !== undefined) this.#scraped.add(exporter);
    const instruments = makeInstruments(provider, this.#options.toolVersion, subject.about ?? 'writes');
    const metrics = makeMetrics(instruments, subject.pageSize ?? PAGE_SIZE, this.url, async () => {
      if (exporter !== undefined) this.#scraped.delete(exporter);
      this.#added.delete(metrics);
      await provider.shutdown();
      if (last) await this[Symbol.asyncDispose]();
    });
    this.#added.add(metrics);
    return metrics;
  }

  async #answer(response: ServerResponse): Promise<void> {
    try {
      const texts: string[] = [];
      for (const exporter of [...this.#scraped]) {
        try {
          const { resourceMetrics } = await exporter.collect();
          texts.push(this.#serializer.serialize(resourceMetrics));
        } catch (error) {
          // Its process has ended in between; the others' series are wanted all the same.
          if (this.#scraped.has(exporter)) throw error;
        }
      }
      response.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8');
      response.end(mergeExpositions(texts));
    } catch (error) {
      response.writeHead(500, { 'content-type': 'text/plain' }).end(`Cannot collect: ${String(error)}\n`);
    }
  }

  /** Pushes what has not been pushed yet, for all processes, and stops listening. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#server !== undefined) {
      this.#server.close();
      this.#server.closeAllConnections();
    }
    await Promise.all([...this.#added].map((metrics) => metrics[Symbol.asyncDispose]()));
  }
}

/**
 * Metrics of one process. The number of series is bounded: mappings are grouped by kind, and by name only the twenty
 * with the most writes; the rest is `other`.
 *
 * @example
 * ```ts
 * import { Metrics } from 'pagemap-scan/metrics';
 * const metrics = await Metrics.start(
 *   { pid: 1, name: 'init' },
 *   { listen: { host: '127.0.0.1', port: 0 }, toolVersion: '1.0.0' },
 * );
 * const mappings = [{ start: 0x1000, name: '[heap]', writtenPages: 2 }];
 * metrics.interval({ intervalMs: 1000, scanMs: 1, writtenPages: 2, mappings });
 * const text = await (await fetch(metrics.url!)).text();
 * console.assert(/^pmscan_memory_written_total\{.*\} 8192$/m.test(text));
 * await metrics[Symbol.asyncDispose]();
 * ```
 */
export class Metrics implements AsyncDisposable {
  /** Where it can be scraped. */
  readonly url: string | undefined;
  readonly #end: () => Promise<void>;
  readonly #instruments: Instruments;
  readonly #pageSize: number;
  readonly #labels = new NameLabels();
  #prots = new Map<number, string>();
  #kindsSeen = new Set<string>();
  #ownersSeen = new Set<string>();
  #ended: Promise<void> | undefined;

  static {
    // OpenTelemetry's types stand in no declaration of ours.
    makeMetrics = (...given) => new Metrics(...given);
  }

  private constructor(
    instruments: Instruments,
    pageSize: number,
    url: string | undefined,
    end: () => Promise<void>,
  ) {
    this.#instruments = instruments;
    this.#pageSize = pageSize;
    this.url = url;
    this.#end = end;
  }

  /**
   * Starts the metrics of a single process.
   *
   * @throws MetricsError where the packages are missing, or the address is taken
   */
  static async start(subject: MetricsSubject, options: MetricsOptions): Promise<Metrics> {
    const hub = await MetricsHub.start(options);
    return hub.add(subject, true);
  }

  /** Takes the writes of an interval. */
  interval(interval: MeasuredInterval, details: MeasuredDetails = {}): void {
    const { written, workingSet, distinct, error, untracked, intervals, late, cost, collecting } =
      this.#instruments;
    for (const { start, name, writtenPages } of interval.mappings) {
      if (writtenPages === 0) continue;
      written.add(writtenPages * this.#pageSize, {
        'pmscan.mapping.kind': mappingKind(name, this.#prots.get(start) ?? ''),
        'pmscan.mapping.name': this.#labels.label(name, writtenPages / interval.writtenPages),
      });
    }
    if (interval.errorPages !== undefined) error.record(interval.errorPages * this.#pageSize);
    intervals.add(1);
    late.add(details.late === true ? 1 : 0);
    collecting.record(interval.scanMs / 1000);
    if (details.distinctPages !== undefined) distinct.record(details.distinctPages * this.#pageSize);
    if (details.targetCostMs !== undefined) cost.add(details.targetCostMs / 1000);
    if (details.untracked !== undefined) untracked.record(details.untracked);
    for (const { windowMs, pages } of details.workingSet ?? []) {
      workingSet.record(pages * this.#pageSize, { 'pmscan.window': windowLabel(windowMs) });
    }
  }

  /** Takes the pages of all mappings by kind. */
  layout(mappings: readonly MeasuredMapping[]): void {
    this.#prots = new Map(mappings.map(({ mapping }) => [mapping.start, mapping.perms]));
    const sums = new Map<string, number[]>();
    const unknown = new Set<number>();
    // A kind of mapping that is gone is at zero, not where it last was.
    for (const kind of this.#kindsSeen)
      sums.set(
        kind,
        PAGE_KINDS.map(() => 0),
      );
    for (const { mapping, kinds } of mappings) {
      const kind = mappingKind(mapping.name, mapping.perms);
      const sum = sums.get(kind) ?? PAGE_KINDS.map(() => 0);
      kinds.forEach((pages, index) => {
        if (pages === null) unknown.add(index);
        else sum[index]! += pages;
      });
      sums.set(kind, sum);
    }
    this.#kindsSeen = new Set(sums.keys());
    for (const [kind, sum] of sums) {
      for (const [index, pages] of sum.entries()) {
        // No series rather than a zero.
        if (unknown.has(index)) continue;
        this.#instruments.pages.record(pages, {
          'pmscan.mapping.kind': kind,
          'pmscan.page.kind': PAGE_KINDS[index]!,
        });
      }
    }
    this.#instruments.mappings.record(mappings.length);
    this.#idle(mappings);
    this.#owned(mappings);
  }

  #owned(mappings: readonly MeasuredMapping[]): void {
    // Of a process of which nobody asked, there are no series.
    if (mappings.every(({ ownerKind }) => ownerKind === undefined)) return;
    const sums = sumBy(
      this.#ownersSeen,
      mappings,
      ({ ownerKind = 'unknown' }) => ownerKind,
      ({ kinds }) => RESIDENT.reduce((sum, kind) => sum + (kinds[kind] ?? 0), 0),
    );
    this.#ownersSeen = new Set(sums.keys());
    for (const [kind, pages] of sums) {
      this.#instruments.owned.record(pages * this.#pageSize, { 'pmscan.owner.kind': kind });
    }
  }

  #idle(mappings: readonly MeasuredMapping[]): void {
    IDLE_LIMITS_MS.forEach((limitMs, limit) => {
      const known = mappings.filter(({ idle }) => typeof idle?.[limit] === 'number');
      // In the first hour of tracking nothing is known to have been left alone for an hour.
      if (known.length === 0) return;
      const sums = sumBy(
        this.#kindsSeen,
        known,
        ({ mapping }) => mappingKind(mapping.name, mapping.perms),
        ({ idle }) => idle![limit]!,
      );
      for (const [kind, pages] of sums) {
        this.#instruments.idle.record(pages * this.#pageSize, {
          'pmscan.mapping.kind': kind,
          'pmscan.idle': windowLabel(limitMs),
        });
      }
    });
  }

  /** Pushes what has not been pushed yet, and ends the series. If it was started alone, it also stops listening. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }
}
