/**
 * The end of the largest user space of all architectures: arm64 with 52-bit addresses. A bound for addresses
 * of any machine.
 */
export const MOST_USER_SPACE_END = 2 ** 52;
