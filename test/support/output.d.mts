import type { ChildProcess } from 'node:child_process';

export function firstOutput(child: ChildProcess): Promise<string>;
