import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fences } from './support/markdown.js';

/** Every TypeScript block of the documents and every `@example` of the sources is run against the build. */

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

interface Snippet {
  readonly name: string;
  readonly code: string;
  /** The lines that it has to print. */
  readonly prints: readonly string[];
}

const PAGES = [
  'README.md',
  'docs/library.md',
  'docs/sdks.md',
  'docs/rescue.md',
  'docs/running-the-server.md',
  'docs/migrating-from-libolm.md',
];

/** Pages whose blocks are one program, cut into pieces. */
const PROGRAMS = ['docs/how-the-scheme-works.md'];

/** What such a program prints between two pieces, so that each has to print what stands below it. */
const CUT = '--- the next piece';

async function sources(folder: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true });
  return names.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name));
}

async function snippets(): Promise<Snippet[]> {
  const found: Snippet[] = [];
  for (const path of PAGES) {
    const pieces = snippetsIn(await readFile(join(root, path), 'utf8'));
    found.push(...pieces.map((piece, i) => ({ name: `${path} ${i + 1}`, ...piece })));
  }
  for (const path of PROGRAMS) {
    const pieces = snippetsIn(await readFile(join(root, path), 'utf8'));
    found.push({
      name: path,
      code: pieces.map(({ code }) => `${code}console.log('${CUT}');\n`).join(''),
      prints: pieces.flatMap(({ prints }) => [...prints, CUT]),
    });
  }
  for (const path of await sources('src')) {
    const comments = (await readFile(join(root, path), 'utf8')).replace(/^\s*\* ?/gm, '');
    const examples = snippetsIn(comments).filter(({ code }) => code.includes('import '));
    found.push(...examples.map((example, i) => ({ name: `${path} ${i + 1}`, ...example })));
  }
  return found;
}

function snippetsIn(text: string): Omit<Snippet, 'name'>[] {
  return fences(text)
    .filter(({ language }) => language === 'ts')
    .map(({ text: code, output = '' }) => ({
      code,
      prints: [...promised(code), ...output.split('\n').filter(Boolean)],
    }));
}

/** What a snippet says it prints: the comments behind its calls of console.log. */
function promised(code: string): string[] {
  return [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text);
}

let folder: string;
let inside: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'megolm-backup-snippets-'));
  // Inside the package, so that its own name resolves to the build.
  inside = await mkdtemp(join(root, 'test', '.snippets-'));
  await copyFile(join(root, 'vectors/sample-export.json'), join(folder, 'export.json'));
  await mkdir(join(folder, 'vectors'));
  await copyFile(join(root, 'vectors/sample-export.json'), join(folder, 'vectors/sample-export.json'));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
  await rm(inside, { recursive: true });
});

const all = await snippets();

describe('snippets', () => {
  test('there are three in the README, and some in the sources', () => {
    expect(all.filter(({ name }) => name.startsWith('README'))).toHaveLength(3);
    expect(all.filter(({ name }) => name.startsWith('src')).length).toBeGreaterThan(3);
  });

  test.each(all)('$name runs and prints what it says', async ({ name, code, prints }) => {
    const { code: js } = await transform(code, { loader: 'ts', format: 'esm', target: 'node20' });
    const file = join(inside, `${name.replace(/\W+/g, '-')}.mjs`);
    await writeFile(file, js);
    const { stdout } = await run(process.execPath, [file], { cwd: folder });
    expect(stdout.split('\n').filter(Boolean)).toEqual(prints);
  });

  test('every one compiles under strict settings', { timeout: 300_000 }, async () => {
    const files: string[] = [];
    for (const { name, code } of all) {
      const file = join(inside, `${name.replace(/\W+/g, '-')}.mts`);
      // Pieces of one program follow each other; a module of its own each.
      await writeFile(file, `${code}\nexport {};\n`);
      files.push(file);
    }
    const options = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--types', 'node'];
    const target = ['--target', 'ES2022', '--lib', 'ES2022,DOM,DOM.AsyncIterable', '--module', 'nodenext'];
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    const { stdout } = await run(process.execPath, [tsc, ...options, ...target, ...files]).catch(
      (error: unknown) => error as { stdout: string },
    );
    expect(stdout).toBe('');
  });

  test('the commands of the README run', async () => {
    const text = await readFile(join(root, 'README.md'), 'utf8');
    const shell = fences(text).filter(({ language }) => language === 'sh');
    const [commands] = shell.map(({ text: code }) => code).filter((code) => code.startsWith('megolm-backup'));
    const main = join(root, 'dist/cli/main.js');
    const script = `set -e\nmegolm-backup() { ${JSON.stringify(process.execPath)} ${JSON.stringify(main)} "$@"; }\n`;
    const { stdout } = await run('bash', ['-c', script + commands], { cwd: folder });
    expect(stdout).toMatch(/^public key [A-Za-z0-9+/]{43}$/m);
    const restored = JSON.parse(await readFile(join(folder, 'sessions.json'), 'utf8'));
    expect(restored).toHaveLength(1000);
  });
});

// TypeDoc fails on a warning: an export without a comment, a link to nothing, a type that is used but not exported.
test('npm run docs builds a page for every entry point and guide, without a warning', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-docs-'));
  try {
    await run('npm', ['run', 'docs', '--', '--out', folder], { cwd: root });

    const { name, exports } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
      name: string;
      exports: Record<string, string>;
    };
    const subpaths = Object.keys(exports).filter((subpath) => exports[subpath].endsWith('.js'));
    const pages = subpaths.map((subpath) => `${posix.join(name, subpath).replaceAll('/', '_')}.html`);
    expect((await readdir(join(folder, 'modules'))).sort()).toEqual(pages.sort());

    const guides = (await readdir(join(root, 'docs'))).filter((name) => name.endsWith('.md'));
    const documents = await readdir(join(folder, 'documents'));
    for (const guide of guides) expect(documents).toContain(guide.replace(/md$/, 'html'));
  } finally {
    await rm(folder, { recursive: true });
  }
});
