// What a process with 10,000 mappings writes, made up: the same every time.
export const MAPPINGS = 10_000;
const PAGE = 4096;

export class Workload {
  #state = 1;
  #order;
  mappings;

  constructor() {
    this.mappings = this.#makeMappings();
    // Which ones are written: few of them nearly always, most of them seldom.
    this.#order = this.mappings.map((_, index) => index).sort(() => this.random() - 0.5);
  }

  /** The same numbers every time, 0 to 1. */
  random() {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return this.#state / 2 ** 32;
  }

  /** Files, mostly, as those of a search engine or a database; some anonymous memory, from small to some GiB. */
  #makeMappings() {
    const list = [];
    let at = 0x7f0000000000;
    for (let index = 0; index < MAPPINGS; index++) {
      const isFile = this.random() < 0.7;
      const pages = isFile
        ? 4 + Math.floor(4096 * this.random() ** 3)
        : index % 500 === 0
          ? 262_144
          : 33 + Math.floor(16_384 * this.random() ** 4);
      const end = at + pages * PAGE;
      const name = isFile
        ? `/var/lib/search/nodes/0/indices/${(index % 97).toString(36)}/segment-${index}.dat`
        : '';
      list.push({ start: at, end, name, perms: isFile ? 'rw-s' : 'rw-p', isNew: false });
      at = end + 2 ** 20;
    }
    return list;
  }

  /** Writes of one second: 60 mappings or so, once a minute ten times as many; neighbouring pages for the most part. */
  *writes(second) {
    const count = second % 60 === 59 ? 600 : 40 + Math.floor(this.random() * 40);
    const hot = new Set();
    while (hot.size < count) hot.add(this.#order[Math.floor(MAPPINGS * this.random() ** 5)]);
    for (const index of [...hot].sort((a, b) => a - b)) {
      const { start, end } = this.mappings[index];
      const pages = (end - start) / PAGE;
      // A log is written where it ends, a heap here and there.
      let page = Math.floor((((index * 7919 + Math.floor(second / 20)) % 97) / 97) * pages);
      const runs = 1 + Math.floor(this.random() * 6);
      for (let run = 0; run < runs && page < pages; run++) {
        const length = Math.min(1 + Math.floor(this.random() ** 3 * 12), pages - page);
        yield [start + page * PAGE, start + (page + length) * PAGE];
        page += length + Math.floor(this.random() ** 2 * (pages / 6));
      }
    }
  }

  layout() {
    return this.mappings.map(({ start, end, name, perms }, index) => {
      const pages = (end - start) / PAGE;
      const present = Math.floor((pages * ((index * 31) % 101)) / 101);
      const isFile = name !== '';
      // One in fifty changes from look to look.
      const now = index % 50 === 0 ? Math.min(pages, present + Math.floor(this.random() * 8)) : present;
      const kinds = isFile ? [0, 0, now, 0, 0, 0, pages - now] : [0, now, 0, 0, 0, 0, pages - now];
      return {
        mapping: { start, end, name, perms, inode: 0, offset: 0 },
        pages,
        present: now,
        swapped: 0,
        file: isFile ? now : 0,
        pfnzero: 0,
        huge: 0,
        guard: 0,
        kinds,
      };
    });
  }
}
