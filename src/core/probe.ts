/** What differs between kernels. */
export { holesAreWritten } from '../live/internal.js';
