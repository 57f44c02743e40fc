/** This tree's sources as TypeScript's compiler sees them. Its programming interface is declared unstable: it is used here only. */
import { join, relative, resolve, sep } from 'node:path';
import type { Node, SourceFile } from 'typescript/unstable/ast';
import { API, type Project } from 'typescript/unstable/sync';

export const ROOT = resolve(import.meta.dirname, '../..');

/** Runs `use` with the projects of these configurations, paths in the tree. */
export function withProjects<T>(configs: readonly string[], use: (projects: readonly Project[]) => T): T {
  const api = new API({ cwd: ROOT });
  try {
    const openProjects = configs.map((config) => join(ROOT, config));
    const snapshot = api.updateSnapshot({ openProjects });
    return use(openProjects.map((config) => snapshot.getProject(config)!));
  } finally {
    api.close();
  }
}

/** The source files of a project that `accept` takes, by their paths in the tree. */
export function sourceFiles(
  project: Project,
  accept: (path: string) => boolean,
): readonly { path: string; source: SourceFile }[] {
  return project.program
    .getSourceFileNames()
    .map((name) => ({ name, path: relative(ROOT, name).split(sep).join('/') }))
    .filter(({ path }) => !path.startsWith('node_modules/') && accept(path))
    .map(({ name, path }) => ({ path, source: project.program.getSourceFile(name)! }));
}

/** The line that a node begins in, from 1. */
export function lineOf(node: Node, source: SourceFile): number {
  return source.text.slice(0, node.getStart(source)).split('\n').length;
}
