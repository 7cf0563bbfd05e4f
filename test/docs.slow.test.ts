import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

// TypeDoc fails on a warning: an export without a comment, a link to nothing, a type that is used but not exported.
test('npm run docs builds a page for every entry point and guide, without a warning', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'megolm-backup-docs-'));
  try {
    await promisify(execFile)('npm', ['run', 'docs', '--', '--out', folder], { cwd: root });

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
