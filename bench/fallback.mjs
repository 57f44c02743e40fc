// The fallback beside the ioctl on one process, 1 GiB of present 4 KiB pages, in turns:
//   npm run build && node bench/fallback.mjs
import {
  FallbackPagemap,
  forEachRegion,
  IoctlPagemap,
  PAGE_IS_HUGE,
  PAGE_IS_PRESENT,
  ProcessHandle,
  RegionBuffer,
} from '../dist/index.js';
import { compile, median, startTarget, time } from './harness.mjs';

const TURNS = 15;
const GIB = 2 ** 30;

function scanner(pagemap, query) {
  const buffer = new RegionBuffer(8192);
  let pages = 0;
  return () => {
    pages = 0;
    forEachRegion(
      pagemap,
      query,
      (start, end) => {
        pages += (end - start) / 4096;
      },
      { buffer },
    );
    return pages;
  };
}

for (const [layout, mebibytes, step] of [
  ['one region', 1024, 1],
  ['every second page there', 2048, 2],
]) {
  const target = await startTarget(compile('target'), 1, mebibytes, step);
  const ioctl = new IoctlPagemap(new ProcessHandle(target.pid));
  const fallback = new FallbackPagemap(new ProcessHandle(target.pid));
  const known = ioctl.categories & fallback.categories;
  for (const [what, categories] of [
    ['present', PAGE_IS_PRESENT],
    ['all that both know, but huge', known & ~PAGE_IS_HUGE],
    ['all that both know', known],
  ]) {
    const query = {
      start: target.start,
      end: target.end,
      categoryMask: PAGE_IS_PRESENT,
      returnMask: categories,
    };
    const [one, other] = [scanner(ioctl, query), scanner(fallback, query)];
    if (one() !== other() || (one() * 4096) / GIB !== 1) throw new Error('they disagree, or not 1 GiB');
    const [a, b] = [[], []];
    for (let turn = 0; turn < TURNS; turn++) {
      a.push(time(one));
      b.push(time(other));
    }
    const [kernel, own] = [median(a) / 1e6, median(b) / 1e6];
    console.log(
      `1 GiB, ${layout}, ${what}: fallback / ioctl ${(own / kernel).toFixed(1)} (${own.toFixed(1)} ms, ${kernel.toFixed(1)} ms)`,
    );
  }
  fallback[Symbol.dispose]();
  ioctl[Symbol.dispose]();
  await target.stop();
}
