/** Single mappings of a process, without the text of all of them. */
import { closeSync } from 'node:fs';
import {
  errnoNumber,
  loadU64,
  PagemapError,
  PROCMAP_QUERY,
  PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
  PROCMAP_QUERY_STRUCT,
  storeU64,
} from '../abi/internal.js';
import { parseSmaps } from '../proc/index.js';
import { libc } from './libc.js';
import { ProcessError, type ProcessHandle } from './process.js';

const { offset: AT, sizeBytes } = PROCMAP_QUERY_STRUCT;
const block = new ArrayBuffer(sizeBytes);
const words = new Uint32Array(block);

const ENOENT = errnoNumber('ENOENT')!;
const ESRCH = errnoNumber('ESRCH')!;

/**
 * Asks for the mapping at `address`, or the next one above; false when there is none, undefined without the ioctl.
 *
 * @throws PagemapError ESRCH when there is no address space any more
 */
function query(fd: number, address: number): boolean | undefined {
  words.fill(0);
  storeU64(words, AT.size / 4, sizeBytes);
  storeU64(words, AT.query_flags / 4, PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
  storeU64(words, AT.query_addr / 4, address);
  if (libc().ioctl(fd, PROCMAP_QUERY, libc().address(block)) >= 0) return true;
  const errno = libc().errno();
  if (errno === ESRCH)
    throw new PagemapError('look at a mapping', { errno, syscall: 'ioctl(PROCMAP_QUERY)' });
  return errno === ENOENT ? false : undefined;
}

/** Asks by way of a descriptor of the process's maps. */
function withMaps<T>(handle: ProcessHandle, ask: (fd: number) => T): T {
  const fd = handle.open('maps');
  try {
    return ask(fd);
  } catch (error) {
    if (!(error instanceof PagemapError) || error.errno !== ESRCH || error instanceof ProcessError)
      throw error;
    if (handle.changeThread()) return withMaps(handle, ask);
    throw handle.problem(error, `look at the mappings of process ${handle.pid}`);
  } finally {
    closeSync(fd);
  }
}

/**
 * The size of the pages that [start, end) is mapped with, bytes: more than `pageSize()` for hugetlb memory. The largest one where
 * there are several mappings, 0 where there is none.
 */
export function mappingPageSize(handle: ProcessHandle, start: number, end: number): number {
  return withMaps(handle, (fd) => {
    let largest = 0;
    for (let at = start; at < end; ) {
      const found = query(fd, at);
      if (found === undefined) return pageSizeFromSmaps(handle, start, end);
      if (!found || loadU64(words, AT.vma_start / 4) >= end) break;
      largest = Math.max(largest, loadU64(words, AT.vma_page_size / 4));
      at = loadU64(words, AT.vma_end / 4);
    }
    return largest;
  });
}

/** Before Linux 6.11. Slow, because smaps counts the pages of every mapping. */
function pageSizeFromSmaps(handle: ProcessHandle, start: number, end: number): number {
  let largest = 0;
  for (const mapping of parseSmaps(handle.read('smaps'))) {
    if (mapping.start < end && mapping.end > start)
      largest = Math.max(largest, mapping.sizes.KernelPageSize ?? 0);
  }
  return largest;
}

/**
 * Whether all of [start, end) is mapped.
 *
 * @throws ProcessError 'ended' of a process that is gone
 */
export function mappingsCover(handle: ProcessHandle, start: number, end: number): boolean {
  return withMaps(handle, (fd) => {
    let at = start;
    while (at < end) {
      const found = query(fd, at);
      if (found === undefined) return coveredByText(handle, start, end);
      if (!found || loadU64(words, AT.vma_start / 4) > at) return false;
      at = loadU64(words, AT.vma_end / 4);
    }
    return true;
  });
}

function coveredByText(handle: ProcessHandle, start: number, end: number): boolean {
  let at = start;
  for (const mapping of handle.mappings()) {
    if (mapping.start > at) continue;
    at = Math.max(at, mapping.end);
    if (at >= end) return true;
  }
  return at >= end;
}
