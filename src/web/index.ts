export { Meter } from './meter.js';
export { MODEL_SCHEMA, type PageModel } from './model.js';
export { reportHtml, sampleNotes } from './report.js';
export { PageServer, type ServerOptions } from './server.js';
export { Session } from './session.js';
