export interface Saved {
  readonly sequence: number;
  /** Pages that were saved. */
  readonly pages: number;
  /** Size of the file. */
  readonly bytes: number;
}

export class Store {
  constructor(folder: string, lengthBytes: number);
  readonly bytes: Uint8Array;
  readonly damaged: readonly { readonly path: string; readonly why: string }[];
  readonly saved: readonly number[];
  readonly newest: number;
  save(): Saved;
  read(sequence: number): Uint8Array;
  restore(sequence: number): void;
  compact(sequence?: number): void;
  close(): void;
}
