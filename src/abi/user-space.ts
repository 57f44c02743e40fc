/** Where user space ends on the architecture where it is largest: arm64 with 52 bits of address. For what stands for addresses of any. */
export const MOST_USER_SPACE_END = 2 ** 52;
