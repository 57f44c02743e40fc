/** Whose memory a mapping is. */

import type { OwnerKind } from '../model/index.js';

export { OWNER_KINDS, type OwnerKind } from '../model/index.js';

/** Whose memory a mapping is, as far as that can be found out. */
export interface Owner {
  /**
   * What it is and whose: `[v8 old space]`, `[stack: libuv-worker 7690]`, `[malloc arena 3]`; for a file its path. Parts of it are chosen
   * by the process, so escape it before you show it (`printable`).
   */
  readonly name: string;
  readonly kind: OwnerKind;
  /** Whether the evidence leaves no doubt. What is only likely is shown with a `?`. */
  readonly sure: boolean;
}
