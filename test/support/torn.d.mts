import type { ChildProcess } from 'node:child_process';

export interface Segment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
  readonly memoryBytes: number;
}

export class CoreReader {
  constructor(path: string);
  readonly fd: number;
  readonly segments: readonly Segment[];
  readonly loads: readonly Segment[];
  readonly length: number;
  bytes(offset: number, length: number): Buffer;
  memory(address: number, length: number): Buffer | undefined;
  notes(): { owner: string; type: number; content: Buffer }[];
  close(): void;
}

export interface Torn {
  readonly pid: number;
  readonly child: ChildProcess;
  readonly start: number;
  readonly end: number;
  readonly writers: number;
  readonly share: number;
  gap(): Promise<number>;
  stop(): Promise<void>;
}

export function startTorn(
  program: string,
  mebibytes: number,
  writers: number,
  pagesPerSecond: number,
  kinds?: string,
): Promise<Torn>;
export function findTear(core: CoreReader, target: Torn): string | undefined;
