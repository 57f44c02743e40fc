/// <reference lib="esnext.disposable" preserve="true" />
/** What `scan` and `maps` look at. */
import type { Pagemap } from '../abi/index.js';
import type { Provider } from '../live/index.js';
import type { Owner } from '../owners/index.js';
import type { Mapping } from '../proc/index.js';

export interface Pages extends Pagemap, Disposable {
  readonly provider: Provider | 'snapshot';
  readonly pid: number;
  /** The categories that can be told. */
  readonly categories: number;
  /** What it is, for a title. */
  readonly title: string;
  /** What JSON says of where the answers come from. */
  readonly origin: Readonly<Record<string, unknown>>;
  mappings(): readonly Mapping[];
  /** Whose memory each of these mappings is, as far as it can be told. */
  owners(mappings: readonly Mapping[]): readonly (Owner | undefined)[];
  /** @throws ProcessError 'ended' when the process has ended meanwhile */
  checkAlive(): void;
  /** One of the process's files in /proc; undefined where there is no process. */
  readonly read: ((file: string) => Uint8Array) | undefined;
}

export type OwnedMapping = Mapping & { readonly owner: Owner | undefined };

export function ownedMappings(pagemap: Pages): OwnedMapping[] {
  const mappings = pagemap.mappings();
  const owners = pagemap.owners(mappings);
  return mappings.map((mapping, index) => ({ ...mapping, owner: owners[index] }));
}
