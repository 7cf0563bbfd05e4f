import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MAY_IMPORT } from './support/storeys.js';

const src = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const storeyOf = (path: string) => (path.includes('/') ? path.split('/')[0] : '.');

/** Every import, export-from and dynamic import of a file. */
function importsOf(name: string): string[] {
  const text = readFileSync(join(src, name), 'utf8').replace(/^\s*\*.*$/gm, '');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, from]) => from);
}

test('there are files in every storey', () => {
  expect([...new Set(files.map(storeyOf))].sort()).toEqual(Object.keys(MAY_IMPORT).sort());
});

test.each(files)('%s imports only what stands below it', (name) => {
  const storey = storeyOf(name);
  for (const from of importsOf(name).filter((path) => path.startsWith('.'))) {
    const target = storeyOf(normalize(join(dirname(name), from)));
    expect([storey, ...MAY_IMPORT[storey]], `${name} imports ${from}`).toContain(target);
  }
});

test('the page imports only what runs in a browser', () => {
  const folder = fileURLToPath(new URL('../page/src', import.meta.url));
  for (const name of readdirSync(folder)) {
    for (const from of importsOf(join('../page/src', name)).filter((path) => path.includes('/src/'))) {
      const target = storeyOf(from.slice(from.indexOf('/src/') + 5));
      expect(MAY_IMPORT['.'], `page/src/${name} imports ${from}`).toContain(target);
    }
  }
});

test.each(files)('%s takes from the platform only what its storey may', (name) => {
  const isNodes = /^(?:server|cli)\//.test(name) || /^backends\/[a-z-]*node[a-z-]*\.ts$/.test(name);
  const foreign = importsOf(name).filter((path) => !path.startsWith('.') && !path.startsWith('#'));
  if (!isNodes) expect(foreign.filter((path) => path.startsWith('node:'))).toEqual([]);
  if (name.startsWith('engine/')) {
    expect(foreign.filter((path) => !/^@(?:noble|scure)\//.test(path))).toEqual([]);
  }
});
