/** What takes longest begins first, so that in the end no processor is left with a long one alone. */
import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Measured; files that are not named take less, and the larger of them come first. */
const LONGEST = [
  'test/e2e/core.test.ts',
  'test/snapshot/live.test.ts',
  'test/e2e/cli.test.ts',
  'test/e2e/web.test.ts',
  'test/e2e/record.test.ts',
  'test/e2e/core-real.test.ts',
  'test/e2e/incremental-save.test.ts',
  'test/differential/fallback.test.ts',
  'test/e2e/watch.test.ts',
  'test/e2e/refusals.test.ts',
  'test/e2e/core-direct.test.ts',
  'test/e2e/real-processes.test.ts',
  'test/e2e/metrics.test.ts',
  'test/live/frozen.test.ts',
  'test/e2e/pack.test.ts',
  'test/track/process.test.ts',
  'test/e2e/completion.test.ts',
  'test/e2e/snap-store.test.ts',
  'test/e2e/executable.test.ts',
  'test/snapshot/full-disk.test.ts',
  'test/live/gone.test.ts',
  'test/track/harmless.test.ts',
];

export default class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId, project }: TestSpecification) => {
      const place = LONGEST.indexOf(relative(project.config.root, moduleId));
      return place < 0 ? LONGEST.length : place;
    };
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
