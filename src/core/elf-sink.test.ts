import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { arm64 } from './arch-arm64.js';
import { ElfSink } from './elf-sink.js';
import type { CoreFile } from './file.js';

test('where there is no room, one failure is told, and no other is left to nobody', async () => {
  const noRoom = () => Object.assign(new Error('no space left'), { code: 'ENOSPC' });
  const file = {
    write: async () => {
      throw noRoom();
    },
    writeSync() {
      throw noRoom();
    },
  } as unknown as CoreFile;
  const unhandled: unknown[] = [];
  const listen = (reason: unknown) => unhandled.push(reason);
  process.on('unhandledRejection', listen);
  try {
    const sink = new ElfSink(file, arm64, async () => 0);
    sink.reserve(0x100000, 0x200000);
    sink.reserve(0x280000, 0x281000);
    sink.reserve(0x300000, 0x301000);
    const bytes = new Uint8Array(0x101000);
    expect(() => sink.write(bytes, [0x100000, 0x200000, 0x300000, 0x301000])).toThrow('no space left');
    await expect(sink.write(bytes, [0x100000, 0x200000])).rejects.toThrow('no space left');
    await turn();
    await turn();
    expect(unhandled).toEqual([]);
  } finally {
    process.off('unhandledRejection', listen);
  }
});
