/** What takes longest begins first, so that in the end no processor is left with a long one alone. */
import { relative } from 'node:path';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Measured; files that are not named take less, and the larger of them come first. */
const LONGEST = [
  'test/e2e/core.test.ts',
  'test/snapshot/live.test.ts',
  'test/differential/fallback.test.ts',
  'test/track/harmless.test.ts',
  'test/e2e/web.test.ts',
  'test/e2e/cli.test.ts',
  'test/e2e/newest-node.test.ts',
  'test/e2e/core-real.test.ts',
  'test/e2e/real-processes.test.ts',
  'test/e2e/watch.test.ts',
  'test/record/killed.test.ts',
  'test/e2e/incremental-save.test.ts',
  'test/examples.test.ts',
  'test/e2e/metrics.test.ts',
  'test/e2e/snap.test.ts',
  'test/e2e/executable.test.ts',
  'test/e2e/completion.test.ts',
  'test/live/gone.test.ts',
  'test/web/server.test.ts',
  'test/web/moments.test.ts',
  'test/snapshot/full-disk.test.ts',
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
