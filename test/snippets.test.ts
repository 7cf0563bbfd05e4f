import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/** Every TypeScript block of the documents and every `@example` of the sources is run against the build. */

const run = promisify(execFile);
const root = fileURLToPath(new URL('..', import.meta.url));

interface Snippet {
  readonly name: string;
  readonly code: string;
}

/** The fenced blocks of a language. */
function blocks(text: string, language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\`$`, 'gm');
  return [...text.matchAll(fence)].map(([, code]) => code);
}

async function sources(folder: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true });
  return names.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name));
}

async function snippets(): Promise<Snippet[]> {
  const found: Snippet[] = [];
  for (const path of ['README.md', 'docs/running-the-server.md']) {
    const text = await readFile(join(root, path), 'utf8');
    found.push(...blocks(text, 'ts').map((code, i) => ({ name: `${path} ${i + 1}`, code })));
  }
  for (const path of await sources('src')) {
    const comments = (await readFile(join(root, path), 'utf8')).replace(/^\s*\* ?/gm, '');
    const examples = blocks(comments, 'ts').filter((code) => code.includes('import '));
    found.push(...examples.map((code, i) => ({ name: `${path} ${i + 1}`, code })));
  }
  return found;
}

/** What a snippet says it prints: the comments behind its calls of console.log at the outermost level. */
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
});

afterAll(async () => {
  await rm(folder, { recursive: true });
  await rm(inside, { recursive: true });
});

const all = await snippets();

describe('snippets', () => {
  test('there are some in the README and in the sources', () => {
    expect(all.filter(({ name }) => name.startsWith('README')).length).toBeGreaterThan(5);
    expect(all.filter(({ name }) => name.startsWith('src')).length).toBeGreaterThan(3);
  });

  test.each(all)('$name runs and prints what it says', async ({ name, code }) => {
    const { code: js } = await transform(code, { loader: 'ts', format: 'esm', target: 'node20' });
    const file = join(inside, `${name.replace(/\W+/g, '-')}.mjs`);
    await writeFile(file, js);
    const { stdout } = await run(process.execPath, [file], { cwd: folder });
    expect(stdout.split('\n').filter(Boolean)).toEqual(promised(code));
  });

  test('the commands of the README run', async () => {
    const text = await readFile(join(root, 'README.md'), 'utf8');
    const [commands] = blocks(text, 'sh').filter((code) => code.startsWith('megolm-backup'));
    const main = join(root, 'dist/cli/main.js');
    const script = `set -e\nmegolm-backup() { ${JSON.stringify(process.execPath)} ${JSON.stringify(main)} "$@"; }\n`;
    const { stdout } = await run('bash', ['-c', script + commands], { cwd: folder });
    expect(stdout).toMatch(/^\d+ passed, 0 failed$/m);
    const restored = JSON.parse(await readFile(join(folder, 'sessions.json'), 'utf8'));
    expect(restored).toHaveLength(1000);
  });
});
