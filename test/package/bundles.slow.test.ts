import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { build, transform } from 'esbuild';
import { describe, expect, test } from 'vitest';
import { ENTRY_POINTS, MAY_IMPORT, layerOf } from '../support/layers.js';
import { ROOT, SUBPATHS } from './project.js';

/** What a bundler makes of every subpath of the build, by the conditions of package.json. */

/** Ways to a network. */
const NETWORK = ['fetch(', '.fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'sendBeacon'];
/** Ways to compile text. */
const COMPILING = ['eval(', 'new Function', 'Function(', 'WebAssembly'];
/** Node's, which no browser has. */
const NODES = ['node:', 'process.', 'require(', '__dirname', 'Buffer.from', 'Buffer.alloc'];
const DATABASE = ['sqlite', 'libsql', 'PRAGMA', 'SELECT '];
const PAGE = ['document.', 'window.', 'localStorage', 'indexedDB'];

interface Rule {
  /** The layers that may be in it. */
  readonly layers: readonly string[];
  /** Packages that may be in it. */
  readonly packages: readonly string[];
  /** What must not be in it. */
  readonly without: readonly string[];
  /** Kilobytes, minified and compressed. */
  readonly size: number;
  readonly platform: 'browser' | 'node';
}

/** A layer and those below it. */
const upTo = (layer: string) => [...ENTRY_POINTS, ...(MAY_IMPORT.get(layer) ?? [])];

const ENGINE = {
  layers: upTo('secret-storage'),
  packages: ['@noble/ciphers', '@noble/curves', '@noble/hashes', '@scure/base'],
  without: [...NETWORK, ...COMPILING, ...NODES, ...DATABASE, ...PAGE, 'Worker', 'subtle', 'import.meta'],
  platform: 'browser',
} as const;

const WEB = {
  ...ENGINE,
  without: [...NETWORK, ...COMPILING, ...NODES, ...DATABASE, ...PAGE],
} as const;

const SERVER = {
  layers: upTo('server'),
  packages: ENGINE.packages,
  without: [...COMPILING, ...PAGE, 'XMLHttpRequest', 'WebSocket'],
  platform: 'node',
} as const;

const RULES: Readonly<Record<string, Rule>> = {
  'megolm-backup': { ...WEB, layers: upTo('backends'), size: 58 },
  'megolm-backup/client': {
    ...WEB,
    layers: upTo('client'),
    without: [...COMPILING, ...NODES, ...DATABASE, ...PAGE, 'XMLHttpRequest', 'WebSocket'],
    size: 68,
  },
  'megolm-backup/engine': { ...ENGINE, size: 41 },
  'megolm-backup/olm': { ...ENGINE, size: 35 },
  'megolm-backup/webcrypto': { ...WEB, layers: upTo('backends'), size: 25 },
  'megolm-backup/simd': { ...WEB, layers: upTo('backends'), size: 32 },
  'megolm-backup/workers': { ...WEB, layers: upTo('backends'), size: 2.5 },
  'megolm-backup/node': {
    ...WEB,
    layers: upTo('backends'),
    without: [...NETWORK, ...COMPILING, ...DATABASE, ...PAGE],
    platform: 'node',
    size: 28,
  },
  'megolm-backup/server': { ...SERVER, without: [...SERVER.without, ...DATABASE], size: 13 },
  'megolm-backup/server/node': { ...SERVER, without: [...SERVER.without, ...DATABASE], size: 1.4 },
  'megolm-backup/server/sqlite': { ...SERVER, without: [...SERVER.without, ...NETWORK], size: 9.2 },
  'megolm-backup/server/postgres': { ...SERVER, without: [...SERVER.without, ...NETWORK], size: 8 },
};

/** Optional packages stay outside. */
const PEERS = ['hono', '@hono/node-server', 'libsql', 'pg', 'prom-client'];

/** Imported only when it is needed, so that bundlers put it into a file of its own. */
const LATER = './self-test.js';

interface Platform {
  readonly platform: 'browser' | 'node';
  readonly conditions?: readonly string[];
}

async function bundle(code: string, { platform, conditions = [] }: Platform) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: code, resolveDir: ROOT },
    bundle: true,
    external: [...PEERS, LATER],
    format: 'esm',
    legalComments: 'none',
    logLevel: 'error',
    metafile: true,
    minify: true,
    platform,
    target: 'es2022',
    write: false,
    absWorkingDir: ROOT,
    // `module` is what esbuild adds when nothing is said.
    conditions: ['module', ...conditions],
    // The configuration of this checkout leads to the sources.
    tsconfigRaw: {},
  });
  const text = outputFiles[0].text;
  // Files whose code is in the bundle: others were looked at and left out.
  const inputs = Object.entries(Object.values(metafile.outputs)[0].inputs)
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => path)
    .filter((path) => path !== '<stdin>');
  return { text, inputs, seen: Object.keys(metafile.inputs), kilobytes: gzipSync(text).length / 1000 };
}

const everything = (subpath: string) => `import * as all from '${subpath}'; globalThis.all = { ...all };`;
const packageOf = (path: string) => /^node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1];

test('there is a rule for every subpath', () => {
  expect(Object.keys(RULES).sort()).toEqual([...SUBPATHS].sort());
});

describe.each(Object.entries(RULES))('%s, bundled whole', (subpath, rule) => {
  test('holds nothing that must not be there, and is small', async () => {
    const { text, inputs, kilobytes } = await bundle(everything(subpath), rule);
    expect(rule.without.filter((word) => text.includes(word))).toEqual([]);
    const layers = inputs
      .filter((path) => path.startsWith('dist/'))
      .map((path) => layerOf(path.slice('dist/'.length).replace(/\.js$/, '.ts')));
    expect(layers.filter((layer) => !rule.layers.includes(layer))).toEqual([]);
    const packages = inputs.map(packageOf).filter((name) => name !== undefined);
    expect(packages.filter((name) => !rule.packages.includes(name))).toEqual([]);
    expect(kilobytes).toBeLessThan(rule.size);
  });

  test('is nothing when nothing of it is used', async () => {
    const { text, inputs } = await bundle(`import '${subpath}';`, rule);
    expect(text.trim()).toBe('');
    expect(inputs).toEqual([]);
  });
});

test('one small function brings little else along', async () => {
  const { text, kilobytes } = await bundle(
    `import { base64Encode } from 'megolm-backup/engine'; globalThis.encode = base64Encode;`,
    { platform: 'browser' },
  );
  expect(text).toContain('globalThis.encode=');
  expect(kilobytes).toBeLessThan(1.7);
});

test('the sizes in the README are right', async () => {
  const readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  const stated =
    /the whole engine .*? (\d+) KB; libolm (\d+) KB[^;]*;\s+matrix-sdk-crypto-wasm (\d\.\d) MB/s.exec(readme);
  const [engine, libolm, rust] = (stated ?? []).slice(1).map(Number);

  const { kilobytes } = await bundle(everything('megolm-backup/engine'), ENGINE);
  expect(Math.abs(kilobytes - engine)).toBeLessThan(1);

  const packages = join(ROOT, 'node_modules/@matrix-org');
  const compressed = async (...files: string[]) => {
    const sizes = files.map(async (file) => {
      const bytes = await readFile(join(packages, file));
      const js = async () => (await transform(bytes, { minify: true, legalComments: 'none' })).code;
      return gzipSync(file.endsWith('.wasm') ? bytes : await js()).length / 1000;
    });
    return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
  };
  expect(Math.round(await compressed('olm/olm.js', 'olm/olm.wasm'))).toBe(libolm);
  const pkg = 'matrix-sdk-crypto-wasm/pkg/matrix_sdk_crypto_wasm_bg';
  expect(Math.round((await compressed(`${pkg}.js`, `${pkg}.wasm`)) / 100) / 10).toBe(rust);
});

test('SIMD is a file of its own, and small', async () => {
  const { text } = await bundle(everything('megolm-backup'), { platform: 'browser' });
  expect(text).toContain(`import("${LATER}")`);
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, 'dist/index.js')],
    bundle: true,
    conditions: ['module'],
    format: 'esm',
    minify: true,
    outdir: 'out',
    platform: 'browser',
    splitting: true,
    target: 'es2022',
    tsconfigRaw: {},
    write: false,
    absWorkingDir: ROOT,
  });
  const sizes = outputFiles
    .filter((file) => file.text.includes('WebAssembly'))
    .map((file) => gzipSync(file.text).length);
  expect(sizes).toHaveLength(1);
  expect(sizes[0]).toBeLessThan(8000);
});

test('for browsers the worker is named so that bundlers bring its file along', async () => {
  const { text } = await bundle(everything('megolm-backup'), { platform: 'browser' });
  expect(text).toContain('new Worker(new URL("./worker-web.js",import.meta.url)');
});

test('no file is loaded that has work to do at its import', async () => {
  // For functions that are not used here it needs a TextEncoder, which not every engine has.
  const { seen } = await bundle(SUBPATHS.map((subpath) => `export * from '${subpath}';`).join(''), {
    platform: 'node',
  });
  expect(seen).toContain('node_modules/@noble/curves/abstract/edwards.js');
  expect(seen).not.toContain('node_modules/@noble/curves/ed25519.js');
});

test('for React Native there is neither a worker nor import.meta', async () => {
  for (const subpath of ['megolm-backup', 'megolm-backup/client', 'megolm-backup/workers']) {
    const { text } = await bundle(everything(subpath), { platform: 'browser', conditions: ['react-native'] });
    expect(
      ['import.meta', 'new Worker', 'node:', '\\p{', LATER].filter((word) => text.includes(word)),
    ).toEqual([]);
  }
});

test('the build is what is bundled', async () => {
  const { inputs } = await bundle(everything('megolm-backup'), { platform: 'browser' });
  expect(inputs).toContain(join('dist', 'scheme', 'keys.js'));
});
