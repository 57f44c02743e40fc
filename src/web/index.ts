export { MODEL_SCHEMA, type PageModel } from '../model/index.js';
export { Meter } from './meter.js';
export { snapshotsModel } from './moments.js';
export { reportHtml, sampleNotes } from './report.js';
export { PageServer, type ServerOptions } from './server.js';
export { Session } from './session.js';
