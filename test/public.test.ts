/**
 * What users may import, compared with test/public.txt, so that a change of it is seen in review. After a change that is meant:
 *   npx vitest run --project house test/public.test.ts -u
 */
import { readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import {
  isBlock,
  isConstructorDeclaration,
  isTypeAliasDeclaration,
  isTypeReferenceNode,
  type Node,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { type Checker, SymbolFlags, type Symbol as TypeScriptSymbol } from 'typescript/unstable/sync';
import { describe, expect, test } from 'vitest';
import { ROOT, withProjects } from './support/typescript.js';

const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  exports: Record<string, { default: string } | string>;
};

/** Specifier and source of each entry; what the root gathers comes last. */
const ENTRIES = Object.entries(exports)
  .flatMap(([key, target]) =>
    typeof target === 'string'
      ? []
      : [
          {
            specifier: `pagemap-scan${key.slice(1)}`,
            source: target.default.replace('./dist/', 'src/').replace(/\.js$/, '.ts'),
          },
        ],
  )
  .sort((a, b) => Number(b.source.includes('/', 4)) - Number(a.source.includes('/', 4)));

/** NodeBuilderFlags.NoTruncation: types are written out however long they are. */
const NO_TRUNCATION = 1;

function keyword({ flags }: TypeScriptSymbol): string {
  if (flags & SymbolFlags.Class) return 'class';
  if (flags & SymbolFlags.Interface) return 'interface';
  if (flags & SymbolFlags.TypeAlias) return 'type';
  if (flags & SymbolFlags.Function) return 'function';
  if (flags & SymbolFlags.ValueModule) return 'namespace';
  return 'const';
}

/** A member as it is written: `[Symbol.dispose]` is told from others by how the compiler spells it. */
const spelled = (name: string) =>
  name.replace(/^__@(\w+)@\d+$/, '[Symbol.$1]').replace(/^\xfe@(\w+)@\d+$/, '[Symbol.$1]');

const HIDDEN = new Set<SyntaxKind>([SyntaxKind.PrivateKeyword, SyntaxKind.ProtectedKeyword]);

function isPrivate(symbol: TypeScriptSymbol, node: Node | undefined): boolean {
  if (/^(__#|\xfe#|#)/.test(symbol.name)) return true;
  const { modifiers } = (node ?? {}) as { modifiers?: readonly Node[] };
  return modifiers?.some(({ kind }) => HIDDEN.has(kind)) ?? false;
}

class Describer {
  readonly #checker: Checker;
  readonly #project: Parameters<Parameters<typeof withProjects>[1]>[0][number];

  constructor(project: Parameters<Parameters<typeof withProjects>[1]>[0][number]) {
    this.#project = project;
    this.#checker = project.checker;
  }

  /** What a module exports, aliases followed. */
  exportsOf(path: string): [string, TypeScriptSymbol][] {
    const source = this.#project.program.getSourceFile(join(ROOT, path))!;
    const module = this.#checker.getSymbolAtLocation(source)!;
    return this.#checker
      .getExportsOfModule(module)
      .map((symbol): [string, TypeScriptSymbol] => [symbol.name, this.resolve(symbol)])
      .sort(([a], [b]) => (a < b ? -1 : 1));
  }

  resolve(symbol: TypeScriptSymbol): TypeScriptSymbol {
    return symbol.flags & SymbolFlags.Alias ? this.#checker.getAliasedSymbol(symbol) : symbol;
  }

  declarations(symbol: TypeScriptSymbol): Node[] {
    return symbol.declarations.flatMap((handle) => handle.resolve(this.#project) ?? []);
  }

  symbolAt(node: Node): TypeScriptSymbol | undefined {
    const symbol = this.#checker.getSymbolAtLocation(node);
    return symbol && this.resolve(symbol);
  }

  /** Lines that describe a name. */
  describe(name: string, symbol: TypeScriptSymbol): string[] {
    const what = keyword(symbol);
    if (what === 'namespace') return [`namespace ${name}`];
    if (what === 'class' || what === 'interface') {
      const type = this.#checker.getDeclaredTypeOfSymbol(symbol);
      const members = this.#checker
        .getPropertiesOfType(type)
        .filter((member) => this.#isOurs(member))
        .map((member) => this.#member(member));
      const statics =
        what === 'class'
          ? [...symbol.getExports().values()]
              .filter((member) => member.name !== 'prototype')
              .filter((member) => this.#isOurs(member))
              .map((member) => `static ${this.#member(member)}`)
          : [];
      return [`${what} ${name}`, ...[...statics, ...members].sort().map((line) => `  ${line}`)];
    }
    if (what === 'type') {
      const declaration = this.declarations(symbol).find(isTypeAliasDeclaration);
      return [`type ${name} = ${withoutComments(declaration!.type.getText())}`];
    }
    return [`${what} ${name}: ${this.#text(this.#checker.getTypeOfSymbol(symbol)!)}`];
  }

  /** Not a member of Error, and not private. */
  #isOurs(member: TypeScriptSymbol): boolean {
    const nodes = this.declarations(member);
    return nodes.some((node) => !isPrivate(member, node) && isInSource(node));
  }

  #member(member: TypeScriptSymbol): string {
    const optional = member.flags & SymbolFlags.Optional ? '?' : '';
    return `${spelled(member.name)}${optional}: ${this.#text(this.#checker.getTypeOfSymbol(member)!)}`;
  }

  #text(type: Parameters<Checker['typeToString']>[0]): string {
    return this.#checker.typeToString(type, undefined, NO_TRUNCATION);
  }
}

/** Code in one line. */
function withoutComments(code: string): string {
  return code
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/^\s*\/\/.*$/gm, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Whether a node is in src/. */
function isInSource(node: Node): boolean {
  return relative(ROOT, node.getSourceFile().fileName).startsWith(`src${sep}`);
}

/** Whether it is not for users, by its comment. */
function isInternal(node: Node): boolean {
  const { text } = node.getSourceFile();
  return isConstructorDeclaration(node) && text.slice(node.pos, node.getStart()).includes('@internal');
}

/** Whether the docstring of a declaration, the last comment before it, has an example. */
function hasExample(node: Node): boolean {
  const { text } = node.getSourceFile();
  const before = text.slice(node.pos, node.getStart());
  return /^ \* @example\n \* ```ts$/m.test(before.slice(before.lastIndexOf('/**')));
}

/** The names of types that a declaration tells its users: bodies and private members are left out. */
function* typesIn(node: Node): Generator<Node> {
  if (isBlock(node) || isInternal(node)) return;
  const { name, modifiers } = node as { name?: Node; modifiers?: readonly Node[] };
  if (name?.kind === SyntaxKind.PrivateIdentifier) return;
  if (modifiers?.some(({ kind }) => HIDDEN.has(kind))) return;
  if (isTypeReferenceNode(node)) yield node.typeName;
  const children: Node[] = [];
  node.forEachChild((child) => {
    children.push(child);
  });
  for (const child of children) yield* typesIn(child);
}

/** The list, made once. */
let made: string | undefined;

function list(): string {
  made ??= withProjects(['tsconfig.build.json'], ([project]) => {
    const describer = new Describer(project!);
    const seen = new Set<string>();
    const parts = ENTRIES.map(({ specifier, source }) => {
      const lines = describer.exportsOf(source).flatMap(([name, symbol]) => {
        const described = describer.describe(name, symbol);
        const key = described.join('\n');
        const isNew = !seen.has(key);
        seen.add(key);
        return isNew ? described : [`${keyword(symbol)} ${name} (above)`];
      });
      return [`# ${specifier}`, ...lines].join('\n');
    });
    return `${parts.join('\n\n')}\n`;
  });
  return made;
}

describe('the public names', () => {
  test('are those of the list', async () => {
    const text = list();
    expect(text.split('\n').length).toBeGreaterThan(300);
    await expect(text).toMatchFileSnapshot('public.txt');
  });

  test('say what they say in one way', () => {
    const text = list();
    const blocks = text.split(/\n(?! )/);
    // What may be left out may be given as undefined, too.
    const strict = blocks.flatMap((block) =>
      block.split('\n').filter((line) => /^ {2}\w+\?: /.test(line) && !/\bu(ndefined|nknown)$/.test(line)),
    );
    expect(strict).toEqual([]);
    const errors = blocks.filter((block) => /^class \w+Error\n/.test(block));
    expect(errors.length).toBeGreaterThan(6);
    expect(errors.filter((block) => !/^ {2}code: /m.test(block))).toEqual([]);
    // What must be ended is disposed of.
    expect(text.match(/^ {2}(dispose|close|stop): \(\) => .*$/gm)).toBe(null);
  });

  test('have an example each, if they are functions or classes', () => {
    const { count, lacking } = withProjects(['tsconfig.build.json'], ([project]) => {
      const describer = new Describer(project!);
      const entries = ENTRIES.flatMap(({ source }) => describer.exportsOf(source));
      const callable = entries.filter(([, symbol]) => /^(class|function)$/.test(keyword(symbol)));
      return {
        count: callable.length,
        lacking: callable
          .filter(([, symbol]) => !describer.declarations(symbol).some(hasExample))
          .map(([name, symbol]) => `${keyword(symbol)} ${name}`),
      };
    });
    expect(count).toBeGreaterThan(100);
    expect([...new Set(lacking)]).toEqual([]);
  });

  test('are described by public types only', () => {
    const hidden = withProjects(['tsconfig.build.json'], ([project]) => {
      const describer = new Describer(project!);
      const entries = ENTRIES.flatMap(({ source }) => describer.exportsOf(source));
      const known = new Set(entries.map(([, symbol]) => symbol.id));
      return entries.flatMap(([name, symbol]) =>
        describer
          .declarations(symbol)
          .flatMap((node) => [...typesIn(node)])
          .flatMap((type) => {
            const found = describer.symbolAt(type);
            if (found === undefined || found.flags & SymbolFlags.TypeParameter || known.has(found.id))
              return [];
            return describer.declarations(found).some(isInSource) ? [`${name} tells of ${found.name}`] : [];
          }),
      );
    });
    expect([...new Set(hidden)]).toEqual([]);
  });
});
