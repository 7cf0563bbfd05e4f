import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';

/** Bundles of the sources, as a user's bundler makes them. */

const source = (path: string) => fileURLToPath(new URL(path, new URL('../../src/', import.meta.url)));

function options(entry: string, platform: 'node' | 'web'): BuildOptions {
  return {
    entryPoints: [source(entry)],
    bundle: true,
    format: 'esm',
    target: 'es2022',
    alias: { '#platform': source(`backends/platform-${platform}.ts`) },
    platform: platform === 'node' ? 'node' : 'browser',
    // Node's own `main` fields would lead to other files than a browser gets.
    logLevel: 'error',
  };
}

/** The text of a bundle for browsers. */
export async function bundleText(entry: string): Promise<string> {
  const { outputFiles } = await build({ ...options(entry, 'web'), write: false });
  return outputFiles[0].text;
}

/** A script that puts what the entries export into one global variable. */
export async function bundleScript(entries: readonly string[], globalName: string): Promise<string> {
  const contents = entries.map((entry) => `export * from '${source(entry)}';`).join('\n');
  const { outputFiles } = await build({
    ...options(entries[0], 'web'),
    entryPoints: undefined,
    stdin: { contents, resolveDir: source('.') },
    format: 'iife',
    globalName,
    write: false,
  });
  return outputFiles[0].text;
}

/** A bundle for Node in a folder of its own, and how to remove it. */
export async function bundleFile(entry: string): Promise<{ url: URL; remove: () => void }> {
  const folder = mkdtempSync(join(tmpdir(), 'megolm-backup-'));
  const outfile = join(folder, 'bundle.mjs');
  await build({ ...options(entry, 'node'), outfile });
  return {
    url: pathToFileURL(outfile),
    remove: () => {
      rmSync(folder, { recursive: true });
    },
  };
}
