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
} from './metrics.js';
