/** Whose memory a mapping is. */

import type { OwnerKind } from '../model/index.js';

export { OWNER_KINDS, type OwnerKind } from '../model/index.js';

/** The owner of a mapping. */
export interface Owner {
  /**
   * The owner and its part: `[v8 old space]`, `[stack: libuv-worker 7690]`, `[malloc arena 3]`; for a file its path.
   * The process chooses parts of it, so escape it before you show it (`printable`).
   */
  readonly name: string;
  readonly kind: OwnerKind;
  /** Whether the evidence leaves no doubt. An owner that is only likely is shown with a `?`. */
  readonly sure: boolean;
}
