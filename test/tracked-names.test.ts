import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** Why Windows or macOS cannot check out a tracked path; undefined where they can. */
function fault(path: string): string | undefined {
  for (const name of path.split('/')) {
    if (/[:*?"<>|\\\0-\x1f]/.test(name)) return 'has a character that Windows forbids';
    if (/[. ]$/.test(name)) return 'ends with a dot or a space';
    if (/^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i.test(name)) return 'is reserved on Windows';
  }
  return undefined;
}

/** Files and folders whose names differ in nothing but case. */
function sameButForCase(paths: readonly string[]): string[] {
  const spellings = new Map<string, Set<string>>();
  for (const path of paths) {
    const names = path.split('/');
    for (let i = 1; i <= names.length; i++) {
      const prefix = names.slice(0, i).join('/');
      const lower = prefix.toLowerCase();
      spellings.set(lower, (spellings.get(lower) ?? new Set()).add(prefix));
    }
  }
  return [...spellings.values()].filter(({ size }) => size > 1).map((set) => [...set].join(' '));
}

describe('tracked names', () => {
  const paths = execFileSync('git', ['ls-files', '-z'], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    encoding: 'utf8',
  })
    .split('\0')
    .filter((path) => path !== '');

  test('can be checked out on Windows', () => {
    expect(paths).toContain('package.json');
    expect(paths.map((path) => [path, fault(path)]).filter(([, reason]) => reason !== undefined)).toEqual([]);
  });

  test('stay apart on a file system that ignores case', () => {
    expect(sameButForCase(paths)).toEqual([]);
  });

  test.each([':memory:', 'a/b?.ts', 'a\\b', 'docs./a', 'a ', 'src/NUL', 'aux.ts', 'a/Com1.txt', 'a\nb'])(
    'rejects %j',
    (path) => {
      expect(fault(path)).toBeDefined();
    },
  );

  test('rejects folders that differ only in case', () => {
    expect(sameButForCase(['Docs/a.md', 'docs/b.md', 'src/a.ts'])).toEqual(['Docs docs']);
    expect(fault('src/console.ts')).toBeUndefined();
  });
});
