import { expect, test } from 'vitest';
import { mergeExpositions } from './exposition.js';

const of = (pid: number, value: number) => `# HELP a_total How many, # and why
# UNIT a_total By
# TYPE a_total counter
a_total{pid="${pid}"} ${value}
# HELP h How long
# TYPE h histogram
h_count{pid="${pid}"} 1
h_bucket{pid="${pid}",le="+Inf"} 1
`;

test('one family for each metric, with the lines of all', () => {
  expect(
    mergeExpositions([of(1, 5), '# no registered metrics', of(2, 7)]),
  ).toBe(`# HELP a_total How many, # and why
# UNIT a_total By
# TYPE a_total counter
a_total{pid="1"} 5
a_total{pid="2"} 7
# HELP h How long
# TYPE h histogram
h_count{pid="1"} 1
h_bucket{pid="1",le="+Inf"} 1
h_count{pid="2"} 1
h_bucket{pid="2",le="+Inf"} 1
`);
  expect(mergeExpositions([])).toBe('');
});
