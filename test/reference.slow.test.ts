import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

function pages(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.md'),
  );
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

// The script itself fails on what is exported and not documented, linked and not there, or used and not exported.
test('docs/api is what the doc comments say now; npm run docs writes it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-reference-'));
  try {
    execFileSync(process.execPath, [join(root, 'scripts/docs.mjs'), '--out', folder], { stdio: 'pipe' });
    expect(pages(join(root, 'docs/api'))).toEqual(pages(folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
