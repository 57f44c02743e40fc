export { labelOf } from './labels.js';
export {
  type MeasuredDetails,
  type MeasuredInterval,
  type MeasuredMapping,
  Metrics,
  MetricsError,
  MetricsHub,
  type MetricsOptions,
  type MetricsProblem,
  type MetricsSubject,
  pushesMetrics,
} from './metrics.js';
