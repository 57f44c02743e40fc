/**
 * No function has more than 25 ways through it (cyclomatic complexity): one, and one more for each condition, loop, case, handler of
 * errors, and operator that may leave out what is to its right. How long functions and files may be is in biome.jsonc.
 */
import {
  isArrowFunction,
  isBinaryExpression,
  isConstructorDeclaration,
  isFunctionDeclaration,
  isFunctionExpression,
  isGetAccessorDeclaration,
  isMethodDeclaration,
  isSetAccessorDeclaration,
  type Node,
  type SourceFile,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { describe, expect, test } from 'vitest';
import { lineOf, sourceFiles, withProjects } from './support/typescript.js';

const MOST = 25;

/** Functions that may have more, as `path name`, each with a reason beside it. */
const EXCEPTIONS: readonly string[] = [];

const FUNCTIONS = [
  isArrowFunction,
  isConstructorDeclaration,
  isFunctionDeclaration,
  isFunctionExpression,
  isGetAccessorDeclaration,
  isMethodDeclaration,
  isSetAccessorDeclaration,
];

const BRANCHES = new Set<SyntaxKind>([
  SyntaxKind.CaseClause,
  SyntaxKind.CatchClause,
  SyntaxKind.ConditionalExpression,
  SyntaxKind.DoStatement,
  SyntaxKind.ForInStatement,
  SyntaxKind.ForOfStatement,
  SyntaxKind.ForStatement,
  SyntaxKind.IfStatement,
  SyntaxKind.WhileStatement,
]);

const OPERATORS = new Set<SyntaxKind>([
  SyntaxKind.AmpersandAmpersandToken,
  SyntaxKind.BarBarToken,
  SyntaxKind.QuestionQuestionToken,
]);

interface Measured {
  readonly name: string;
  readonly line: number;
  complexity: number;
}

/** All functions of a file. One that is inside another counts by itself. */
function measure(source: SourceFile): Measured[] {
  const found: Measured[] = [];
  const visit = (node: Node, inside: Measured | undefined): void => {
    let within = inside;
    if (FUNCTIONS.some((isOne) => isOne(node))) {
      const { name } = node as { name?: { getText(source: SourceFile): string } };
      within = { name: name?.getText(source) ?? '', line: lineOf(node, source), complexity: 1 };
      found.push(within);
    } else if (within !== undefined) {
      if (BRANCHES.has(node.kind)) within.complexity++;
      if (isBinaryExpression(node) && OPERATORS.has(node.operatorToken.kind)) within.complexity++;
    }
    node.forEachChild((child) => {
      visit(child, within);
    });
  };
  visit(source, undefined);
  return found;
}

describe('complexity', () => {
  test(`no function of src has more than ${MOST} ways through it`, () => {
    const tooMany: string[] = [];
    const excepted: string[] = [];
    let functions = 0;
    withProjects(
      ['tsconfig.json', 'src/web/page/tsconfig.json', 'src/playground/tsconfig.json'],
      (projects) => {
        const seen = new Set<string>();
        for (const project of projects) {
          for (const { path, source } of sourceFiles(project, (file) => /^src\/.*(?<!\.d)\.ts$/.test(file))) {
            if (seen.has(path)) continue;
            seen.add(path);
            for (const { name, line, complexity } of measure(source)) {
              functions++;
              if (complexity <= MOST) continue;
              if (EXCEPTIONS.includes(`${path} ${name}`)) excepted.push(`${path} ${name}`);
              else tooMany.push(`${path}:${line} ${name} has ${complexity}`);
            }
          }
        }
      },
    );
    expect(functions).toBeGreaterThan(1000);
    expect(tooMany).toEqual([]);
    // An exception that is not needed any more goes.
    expect(excepted).toEqual(EXCEPTIONS);
  });
});
