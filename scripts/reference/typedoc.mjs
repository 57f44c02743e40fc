// TypeDoc 0.28 fails on some of the sources (an assertion of its own); on declarations it does not, which also are what users have.
/** The library's reference: one page for each entry of the package, of the declarations that its users get. */
import { readFileSync } from 'node:fs';

const ROOT = new URL('../../', import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8'));
/** The root gathers what the others have: behind them, it refers to them. */
const entryPoints = Object.values(exports)
  .filter((target) => typeof target === 'object')
  .map(({ types }) => new URL(types, ROOT).pathname)
  .toSorted((a, b) => b.split('/').length - a.split('/').length || (a < b ? -1 : 1));

/** @type {import('typedoc').TypeDocOptions & import('typedoc-plugin-markdown').PluginOptions} */
export default {
  entryPoints,
  tsconfig: new URL('tsconfig.json', import.meta.url).pathname,
  plugin: ['typedoc-plugin-markdown'],
  router: 'module',
  entryFileName: 'README',
  readme: 'none',
  // Lines move with each change of a file.
  disableSources: true,
  excludeInternal: true,
  excludePrivate: true,
  excludeProtected: true,
  // What a class is made of inside is no business of its users.
  validation: { notExported: false },
  treatWarningsAsErrors: true,
  sort: ['source-order'],
  pageTitleTemplates: { module: ({ name }) => (name === 'index' ? 'pagemap-scan' : `pagemap-scan/${name}`) },
  hideBreadcrumbs: true,
  hidePageHeader: true,
  useCodeBlocks: true,
  expandObjects: true,
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  typeDeclarationFormat: 'table',
};
