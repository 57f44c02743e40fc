import { expect, test } from 'vitest';
import { changelogProblem } from '../scripts/release.mjs';

test('a changelog is ready when it has the version with a date, and nothing unreleased', () => {
  const text = '# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-12-01\n\n### Added\n\n- This.\n';
  expect(changelogProblem(text, '0.2.0')).toBeUndefined();
  expect(changelogProblem(text, '0.2.1')).toContain('no "## [0.2.1] - DATE"');
  expect(changelogProblem(text.replace(' - 2026-12-01', ''), '0.2.0')).toContain('DATE');
  expect(changelogProblem(text.replace('\n\n## [0', '\n\n- That.\n\n## [0'), '0.2.0')).toContain(
    'unreleased',
  );
});
