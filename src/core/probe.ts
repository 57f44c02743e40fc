/** What differs between kernels. */
export { holesAreWritten } from '../live/index.js';
