import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { ROOT, manifest, pack } from './project.js';

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

  test('are the build, its sources, the vectors and the documents', () => {
    const unexpected = [...files].filter(
      (path) =>
        !/^(?:dist|src)\/(?:[a-z0-9-]+\/)*[a-z0-9-]+(?:\.d)?\.(?:ts|js)(?:\.map)?$/.test(path) &&
        !/^vectors\/[a-z0-9.-]+\.json$/.test(path) &&
        !path.startsWith('docs/') &&
        !['package.json', 'LICENSE', 'vectors/README.md'].includes(path) &&
        !/^(?:README|CHANGELOG|CONTRIBUTING|SECURITY)\.md$/.test(path),
    );
    expect(unexpected).toEqual([]);
  });

  test.each(['LICENSE', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'vectors/schema.json'])(
    'have %s',
    (path) => {
      expect(files).toContain(path);
    },
  );

  test('are none of the tests, the benchmarks, or what makes the vectors', () => {
    const foreign =
      /(?:^|\/)(?:test|tests|benchmarks|generate|page|scripts|node_modules)\/|\.test\.|tsbuildinfo/;
    expect([...files].filter((path) => foreign.test(path))).toEqual([]);
  });

  const targets = [
    ...Object.values(manifest.exports),
    ...Object.values(manifest.imports).flatMap((conditions) => Object.values(conditions)),
  ].filter((path) => path.endsWith('.js'));

  test.each(targets)('%s is there with its types', (target) => {
    const path = normalize(target);
    expect(files).toContain(path);
    expect(files).toContain(path.replace(/\.js$/, '.d.ts'));
  });

  test('are no more of the build than there are sources', () => {
    const built = [...files].filter((path) => /^dist\/.*\.js$/.test(path));
    const sources = built.map((path) => path.replace(/^dist/, 'src').replace(/\.js$/, '.ts'));
    expect(sources.filter((path) => !files.has(path))).toEqual([]);
    expect(sources.length).toBeGreaterThan(100);
  });

  test('every map is named by its file, and leads to a source in the package', () => {
    const built = [...files].filter((path) => /^dist\/.*\.(?:js|d\.ts)$/.test(path));
    for (const path of built) {
      const map = /\/\/# sourceMappingURL=(\S+)\s*$/.exec(readFileSync(join(ROOT, path), 'utf8'))?.[1];
      expect(map, path).toBeDefined();
      const mapPath = join(dirname(path), map!);
      expect(files, mapPath).toContain(mapPath);
      const { sources, sourceRoot = '' } = JSON.parse(readFileSync(join(ROOT, mapPath), 'utf8')) as {
        sources: string[];
        sourceRoot?: string;
      };
      for (const source of sources) {
        const sourcePath = join(dirname(mapPath), sourceRoot, source);
        expect(files, mapPath).toContain(sourcePath);
        expect(existsSync(join(ROOT, sourcePath))).toBe(true);
      }
    }
  });
});
