// Loads TypeScript modules of the project into this process, as often as wanted and each time anew: compiled once,
// evaluated again, with another text for one of them. Packages are loaded once.
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { compileFunction } from 'node:vm';
import ts from 'typescript';
import { STAND_INS } from './vitest.mjs';

const ROOT = resolve(import.meta.dirname, '../..');
const ALIASES = { '#platform': join(ROOT, 'src/backends/platform-node.ts') };

/** How many turns the loops of the project may still take; each one counts. */
export const turns = {
  left: Infinity,
  /** Set once they are used up, also where the code under test catches the error. */
  endless: false,
  usedUp() {
    turns.endless = true;
    throw new Error('a loop does not end');
  },
};

/** A compiled module: `run` evaluates it, `imports` are the specifiers with what they mean. */
const compiled = new Map();
const packages = new Map();

/** Compiles a module, and all that it imports. */
export async function prepare(path) {
  if (compiled.has(path)) return;
  const module = compile(path, readFileSync(path, 'utf8'));
  compiled.set(path, module);
  for (const target of module.imports.values()) {
    if (target.startsWith(ROOT)) await prepare(target);
    else if (!packages.has(target)) packages.set(target, STAND_INS[target] ?? (await load(target)));
  }
}

async function load(name) {
  try {
    return { ...(await import(name)), __esModule: true };
  } catch (error) {
    // An optional package: only an error where it is used.
    return { __esModule: true, error };
  }
}

/**
 * A compiled module. `probes` are further names that the text may use.
 */
export function compile(path, text, probes = {}) {
  const { outputText, diagnostics } = ts.transpileModule(text, {
    fileName: path,
    reportDiagnostics: true,
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: ts.ModuleKind.CommonJS,
      esModuleInterop: true,
      isolatedModules: true,
    },
    transformers: { before: [countTurns] },
  });
  if (diagnostics.length > 0) {
    throw new Error(`${path}: ${ts.flattenDiagnosticMessageText(diagnostics[0].messageText, '\n')}`);
  }
  const names = ['require', 'exports', '$url', '$turns', ...Object.keys(probes)];
  const run = compileFunction(outputText, names, { filename: path });
  const imports = new Map();
  for (const [, name] of outputText.matchAll(/\brequire\("([^"]+)"\)/g))
    imports.set(name, targetOf(path, name));
  const url = pathToFileURL(path).href;
  return {
    imports,
    run: (require, exports) => run(require, exports, url, turns, ...Object.values(probes)),
  };
}

function targetOf(path, name) {
  if (name.startsWith('.')) return join(dirname(path), name.replace(/\.js$/, '.ts'));
  return ALIASES[name] ?? name;
}

/** Begins the body of every loop with a count, and puts a name in the place of `import.meta.url`. */
function countTurns(context) {
  const { factory } = context;
  const visit = (node) => {
    if (ts.isPropertyAccessExpression(node) && ts.isMetaProperty(node.expression)) {
      return factory.createIdentifier('$url');
    }
    const seen = ts.visitEachChild(node, visit, context);
    const { statement } = seen;
    switch (seen.kind) {
      case ts.SyntaxKind.ForStatement:
        return factory.updateForStatement(
          seen,
          seen.initializer,
          seen.condition,
          seen.incrementor,
          counted(statement),
        );
      case ts.SyntaxKind.ForOfStatement:
        return factory.updateForOfStatement(
          seen,
          seen.awaitModifier,
          seen.initializer,
          seen.expression,
          counted(statement),
        );
      case ts.SyntaxKind.WhileStatement:
        return factory.updateWhileStatement(seen, seen.expression, counted(statement));
      case ts.SyntaxKind.DoStatement:
        return factory.updateDoStatement(seen, counted(statement), seen.expression);
      default:
        return seen;
    }
  };
  const counted = (body) => {
    const name = factory.createIdentifier('$turns');
    const left = factory.createPropertyAccessExpression(name, 'left');
    const usedUp = factory.createPropertyAccessExpression(name, 'usedUp');
    return factory.createBlock([
      factory.createIfStatement(
        factory.createLessThan(factory.createPrefixDecrement(left), factory.createNumericLiteral(0)),
        factory.createExpressionStatement(factory.createCallExpression(usedUp, undefined, [])),
      ),
      ...(ts.isBlock(body) ? body.statements : [body]),
    ]);
  };
  return (file) => ts.visitNode(file, visit);
}

/** Evaluates modules anew, each once: gives their `require`. `changed` stands for the module at `path`. */
export function evaluation(path, changed) {
  const evaluated = new Map();
  return function required(target) {
    const known = evaluated.get(target);
    if (known) return known;
    const exports = {};
    evaluated.set(target, exports);
    const { run, imports } = target === path ? changed : compiled.get(target);
    run((name) => {
      const meant = imports.get(name);
      if (compiled.has(meant)) return required(meant);
      const given = packages.get(meant);
      if (given.error) throw given.error;
      return given;
    }, exports);
    return exports;
  };
}
