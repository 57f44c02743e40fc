import type { ChildProcess } from 'node:child_process';

export function firstOutput(child: ChildProcess): Promise<string>;

/** What a program says until it says "end", a list of words a line. */
export function wordsUntilEnd(child: ChildProcess): Promise<string[][]>;
