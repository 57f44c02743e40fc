import { errnoNumber } from '../abi/index.js';
import { lastError, libc } from './libc.js';

const LOCK_EX = 2;
const LOCK_NB = 4;

/**
 * Locks an open file against others who do the same (man flock(2)); the lock ends when it is closed.
 *
 * @returns false when somebody else has it
 */
export function lockFile(fd: number): boolean {
  const { syscall, numbers, errno } = libc();
  if (syscall(numbers.flock, fd, LOCK_EX | LOCK_NB, 0, 0, 0, 0) >= 0) return true;
  if (errno() === errnoNumber('EAGAIN')) return false;
  throw lastError('lock a file', 'flock');
}
