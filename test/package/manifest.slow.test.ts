import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, normalize } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ROOT, manifest, pack, run } from './project.js';

/** What is in the package, without installing it. */

test('four packages are needed at run time, in exact versions', () => {
  expect(Object.keys(manifest.dependencies).sort()).toEqual([
    '@noble/ciphers',
    '@noble/curves',
    '@noble/hashes',
    '@scure/base',
  ]);
  for (const version of Object.values(manifest.dependencies)) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});

test('development dependencies have exact versions', () => {
  for (const [name, version] of Object.entries(manifest.devDependencies)) {
    expect(version, name).toMatch(/^\d+\.\d+\.\d+(?:-[a-z]+\.\d+)?$/);
  }
});

describe('the files in the package', () => {
  let files: Set<string>;

  beforeAll(async () => {
    files = new Set((await pack()).files.map(({ path }) => path));
  });

  test('are the build and the documents', () => {
    const unexpected = [...files].filter(
      (path) =>
        !/^dist\/(?:[a-z0-9-]+\/)*[a-z0-9-]+(?:\.d\.ts|\.js)$/.test(path) &&
        !/^docs\/[a-z-]+\.(?:md|svg)$/.test(path) &&
        !/^(?:README|CHANGELOG|CONTRIBUTING|SECURITY)\.md$/.test(path) &&
        !['package.json', 'LICENSE'].includes(path),
    );
    expect(unexpected).toEqual([]);
  });

  test.each(['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md'])('have %s', (path) => {
    expect(files).toContain(path);
  });

  test('are at most 350, and 1.5 MB', async () => {
    const { unpackedSize } = await pack();
    expect(files.size).toBeLessThanOrEqual(350);
    expect(unpackedSize).toBeLessThanOrEqual(1_500_000);
  });

  const imported = Object.values(manifest.imports).flatMap((conditions) => Object.values(conditions));

  test.each(imported)('%s is there', (target) => {
    expect(files).toContain(normalize(target));
  });

  const exported = Object.values(manifest.exports).filter((path) => path.endsWith('.js'));

  test.each(exported)('%s is there with its types', (target) => {
    const path = normalize(target);
    expect(files).toContain(path);
    expect(files).toContain(path.replace(/\.js$/, '.d.ts'));
  });

  test('are no more of the build than there are sources', () => {
    const sources = [...files]
      .filter((path) => /^dist\/.*\.js$/.test(path))
      .map((path) => path.replace(/^dist/, 'src').replace(/\.js$/, '.ts'));
    expect(sources.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    expect(sources.length).toBeGreaterThan(80);
  });

  test('name no source map, since the sources are not in the package', () => {
    const built = [...files].filter((path) => path.startsWith('dist/'));
    const mapped = built.filter((path) =>
      readFileSync(join(ROOT, path), 'utf8').includes('sourceMappingURL'),
    );
    expect(mapped).toEqual([]);
  });
});

test('publint and Are the Types Wrong find nothing in the package', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-pack-'));
  onTestFinished(() => {
    rmSync(folder, { recursive: true });
  });
  const tarball = join(folder, (await pack(folder)).filename);
  const tool = (name: string, ...args: string[]) =>
    run(join(ROOT, 'node_modules/.bin', name), [tarball, ...args]);
  expect(await tool('publint', '--strict')).toContain('All good!');
  // ESM only: CommonJS gets it by `require` where Node allows that, and not by a second copy of the code.
  await tool('attw', '--profile', 'esm-only', '--quiet');
});
