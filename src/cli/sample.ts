/**
 * The sample process of `pmscan demo`. Run by fork(); reports its parts to its parent, then writes to three of them until the
 * parent lets go of the channel, however that comes about.
 */
import { closeSync, openSync, readFileSync } from 'node:fs';
import { mman } from '../abi/index.js';
import { allowTracing, type MappedMemory, mapMemory, SafeAccess } from '../live/internal.js';
import { buildSample, type SampleMemory, SampleWriters } from './sample-layout.js';

function hasSwap(): boolean {
  try {
    // The first line is the heading.
    return readFileSync('/proc/swaps', 'utf8').trim().split('\n').length > 1;
  } catch {
    return false;
  }
}

// It is there to be watched.
allowTracing();
const access = new SafeAccess();
const mapped: MappedMemory[] = [];

const memory: SampleMemory = {
  swap: hasSwap(),
  map({ lengthBytes, kind, alignBytes = 4096 }) {
    const fd = kind === 'file' ? openSync(process.execPath, 'r') : -1;
    const prot = kind === 'file' ? mman.PROT_READ : mman.PROT_READ | mman.PROT_WRITE;
    const memory = mapMemory({ lengthBytes, alignBytes, prot, fd, shared: kind === 'shared' });
    if (fd >= 0) closeSync(fd);
    mapped.push(memory);
    return memory.address;
  },
  write: (address) => void access.write(address, 1),
  read: (address) => void access.read(address),
  advise(address, lengthBytes, advice) {
    mapped.find((part) => part.address <= address && address < part.end)!.advise(advice, 0, lengthBytes);
  },
};

const sample = buildSample(memory);
const writers = new SampleWriters(sample.written, memory.write);
process.on('disconnect', () => process.exit(0));
// Ctrl-C goes to the whole group; the parent decides what it means.
process.on('SIGINT', () => {});
process.send?.(sample);
setInterval(() => writers.step(), 10);
