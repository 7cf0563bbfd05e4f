import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ENTRY_POINTS, MAY_IMPORT, layerOf } from './support/layers.js';

const src = fileURLToPath(new URL('../src', import.meta.url));
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
const layered = files.filter((name) => !ENTRY_POINTS.includes(name));

/** Every import, export-from and dynamic import of a file, type imports included. */
function importsOf(name: string): string[] {
  const text = readFileSync(join(src, name), 'utf8').replace(/^\s*\*.*$/gm, '');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map(([, from]) => from);
}

function filesImportedBy(name: string): string[] {
  return importsOf(name)
    .filter((from) => from.startsWith('.'))
    .map((from) => normalize(join(dirname(name), from)).replace(/\.js$/, '.ts'));
}

test('every layer has files, and every file is in a layer', () => {
  expect([...new Set(layered.map(layerOf))].sort()).toEqual([...MAY_IMPORT.keys()].sort());
  expect(files).toEqual(expect.arrayContaining([...ENTRY_POINTS]));
});

test.each(layered)('%s imports only from its own layer and those below', (name) => {
  for (const target of filesImportedBy(name)) {
    expect(MAY_IMPORT.get(layerOf(name)), `${name} imports ${target}`).toContain(layerOf(target));
  }
});

test('no file imports itself by way of others', () => {
  const circles: string[] = [];
  const finished = new Set<string>();
  const visit = (name: string, path: readonly string[]): void => {
    if (path.includes(name)) circles.push([...path.slice(path.indexOf(name)), name].join(' -> '));
    if (finished.has(name) || path.includes(name)) return;
    for (const target of filesImportedBy(name)) visit(target, [...path, name]);
    finished.add(name);
  };
  for (const name of files) visit(name, []);
  expect(circles).toEqual([]);
});

test('the page imports only from layers that run in a browser', () => {
  const folder = fileURLToPath(new URL('../page/src', import.meta.url));
  for (const name of readdirSync(folder)) {
    for (const from of importsOf(join('../page/src', name)).filter((path) => path.includes('/src/'))) {
      const target = layerOf(from.slice(from.indexOf('/src/') + 5).replace(/\.js$/, '.ts'));
      expect([...ENTRY_POINTS, ...(MAY_IMPORT.get('client') ?? [])], `page/src/${name}`).toContain(target);
    }
  }
});

test.each(files)('%s takes from the platform only what its layer may', (name) => {
  const isForNode = /^(?:server|cli)\//.test(name) || /^backends\/[a-z-]*node[a-z-]*\.ts$/.test(name);
  const foreign = importsOf(name).filter((path) => !path.startsWith('.') && !path.startsWith('#'));
  if (!isForNode) expect(foreign.filter((path) => path.startsWith('node:'))).toEqual([]);
  if (MAY_IMPORT.get('secret-storage')?.includes(layerOf(name))) {
    expect(foreign.filter((path) => !/^@(?:noble|scure)\//.test(path))).toEqual([]);
  }
});
