import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { build as buildByVite } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, SUBPATHS, manifest, run } from './project.js';

/** The package, packed and installed into an empty project, used in every way that there is. */

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

let project: Project;

beforeAll(async () => {
  project = await Project.create();
});

afterAll(() => project.remove());

/** A round trip in the words of a user; `imports` are the two lines that differ. */
const roundTrip = (imports: string) => `
${imports}
const sessions = Array.from({ length: 40 }, (_, i) => {
  const bytes = new Uint8Array(165).map((_, at) => (at * 7 + i) & 255);
  bytes.set([1, 0, 0, 0, 0]);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: '!a:x',
    sender_claimed_keys: { ed25519: '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
    sender_key: 'A'.repeat(43),
    session_id: base64Encode(bytes.subarray(133)),
    session_key: base64Encode(bytes),
  };
});
async function all(results) {
  const taken = [];
  for await (const result of results) taken.push(result);
  return taken;
}
async function roundTrip() {
  const key = BackupDecryptionKey.generate();
  // Enough for workers to be used.
  const options = { total: 20_000 };
  const records = await all(encryptSessions(sessions, key.publicKey, options));
  const results = await all(decryptSessions(records, key, options));
  return results.filter((result, i) => result.ok && result.session.session_key === sessions[i].session_key).length;
}
`;
const NAMES = 'BackupDecryptionKey, decryptSessions, encryptSessions';

describe('on Node', () => {
  test('nothing else is installed with it', async () => {
    const names = await readdir(join(project.folder, 'node_modules'));
    expect(names.filter((name) => !name.startsWith('.')).sort()).toEqual([
      '@noble',
      '@scure',
      'megolm-backup',
    ]);
  });

  test('every subpath is imported', async () => {
    const script = `
      const missing = [];
      for (const path of ${JSON.stringify(SUBPATHS)}) {
        if (Object.keys(await import(path)).length === 0) missing.push(path);
      }
      console.log(JSON.stringify(missing));`;
    expect(JSON.parse(await project.node('import.mjs', script))).toEqual([]);
  });

  test('every subpath is required from CommonJS, and is the same module', async () => {
    const script = `
      (async () => {
        const others = [];
        for (const path of ${JSON.stringify(SUBPATHS)}) {
          const required = require(path);
          const imported = await import(path);
          if (Object.keys(imported).some((name) => required[name] !== imported[name])) others.push(path);
        }
        console.log(JSON.stringify(others));
      })();`;
    expect(JSON.parse(await project.node('require.cjs', script))).toEqual([]);
  });

  test('nothing but the subpaths can be imported', async () => {
    const script = `
      const codes = [];
      for (const path of ['dist/index.js', 'rescue', 'scheme/keys.js', 'cli', 'server/http']) {
        await import('megolm-backup/' + path).then(() => codes.push(path), ({ code }) => codes.push(code));
      }
      console.log(JSON.stringify(codes));`;
    expect(new Set(JSON.parse(await project.node('closed.mjs', script)))).toEqual(
      new Set(['ERR_PACKAGE_PATH_NOT_EXPORTED']),
    );
  });

  test('sessions go there and back, with workers', async () => {
    const imports = `import { ${NAMES} } from 'megolm-backup'; import { base64Encode } from 'megolm-backup/engine';`;
    const script = `${roundTrip(imports)} console.log(await roundTrip());`;
    expect(await project.node('esm.mjs', script)).toBe('40\n');
  });

  test('sessions go there and back from CommonJS', async () => {
    const imports = `const { ${NAMES} } = require('megolm-backup'); const { base64Encode } = require('megolm-backup/engine');`;
    const script = `${roundTrip(imports)} roundTrip().then(console.log);`;
    expect(await project.node('cjs.cjs', script)).toBe('40\n');
  });

  test('its command makes a key', async () => {
    const command = join(project.folder, 'node_modules/.bin/megolm-backup');
    const key: unknown = JSON.parse(await run(command, ['keygen'], project.folder));
    expect(key).toMatchObject({ public_key: expect.stringMatching(/^[\w+/]{43}$/) });
  });

  test('a server says what it lacks', async () => {
    const script = `
      import { createHandler } from 'megolm-backup/server';
      import { listen } from 'megolm-backup/server/node';
      import { openPostgresStore } from 'megolm-backup/server/postgres';
      const errors = [];
      const note = ({ code, message }) => errors.push(code + ' ' + message);
      await createHandler({ store: {}, identify: () => undefined }).catch(note);
      await listen(() => undefined).catch(note);
      await openPostgresStore('postgres://127.0.0.1:1/x').catch(note);
      console.log(errors.join('\\n'));`;
    const lines = (await project.node('lacking.mjs', script)).trim().split('\n');
    expect(lines).toHaveLength(3);
    for (const line of lines) expect(line).toMatch(/^missing-dependency .*npm install [@a-z/-]+@\d/);
  });
});

/** TypeScript: the oldest that README.md names, the one of this checkout, and the newest. */
const COMPILERS = ['5.6.3', manifest.devDependencies.typescript, '7.0.2'];

describe.each(COMPILERS)('its types, to TypeScript %s', (version) => {
  const compiler = `typescript-${version}`;

  beforeAll(() => project.install(`${compiler}@npm:typescript@${version}`));

  interface Setting {
    readonly module: string;
    readonly moduleResolution: string;
  }
  const SETTINGS: readonly Setting[] = [
    { module: 'node16', moduleResolution: 'node16' },
    { module: 'nodenext', moduleResolution: 'nodenext' },
    { module: 'esnext', moduleResolution: 'bundler' },
  ];

  /** Compiles one file with nothing left unchecked. Gives what the compiler said. */
  async function compile(name: string, text: string, setting: Setting, lib: string[], types: string[]) {
    const file = await project.write(name, text);
    const config = {
      compilerOptions: {
        ...setting,
        lib,
        types,
        target: 'es2022',
        strict: true,
        exactOptionalPropertyTypes: true,
        noUncheckedIndexedAccess: true,
        noPropertyAccessFromIndexSignature: true,
        skipLibCheck: false,
        noEmit: true,
      },
      files: [file],
    };
    const path = await project.write('tsconfig.json', JSON.stringify(config));
    const tsc = join(project.folder, 'node_modules', compiler, 'bin/tsc');
    return run(process.execPath, [tsc, '-p', path], project.folder);
  }

  const imports = (paths: readonly string[]) =>
    paths.map((path, i) => `import * as m${i} from '${path}';\nexport { m${i} };\n`).join('');
  const PURE = ['megolm-backup/engine'];
  const WEB = ['megolm-backup', 'megolm-backup/client', 'megolm-backup/webcrypto', 'megolm-backup/workers'];

  const USE = `
import {
  BackupDecryptionKey, KeyBackupError, decryptSessions, encryptSessions,
  type ErrorCode, type ExportedSessionData,
} from 'megolm-backup';
import { RequestError, RoomKeys, Restore, type RequestCode } from 'megolm-backup/client';

const key: BackupDecryptionKey = BackupDecryptionKey.generate();
const bytes: Uint8Array = key.publicKey.toBytes();
// @ts-expect-error What comes out is bytes, not a text.
const text: string = key.publicKey.toBytes();
// @ts-expect-error A decryption key is no public key.
encryptSessions([], key);
// @ts-expect-error There is no such option.
decryptSessions([], key, { salvag: true });
// @ts-expect-error A key is made by its static methods only.
new BackupDecryptionKey(bytes);

export async function use(sessions: readonly ExportedSessionData[]): Promise<string[]> {
  const found: string[] = [];
  for await (const result of encryptSessions(sessions, key.publicKey)) {
    // @ts-expect-error It may have failed.
    result.key_backup_data;
    if (result.ok) found.push(result.key_backup_data.session_data.mac);
    else found.push(result.error.code satisfies ErrorCode);
  }
  return found;
}

export function narrowed(error: unknown): string {
  if (!(error instanceof KeyBackupError)) throw error;
  // @ts-expect-error There is no such code, also not in a catch.
  if (error.code === 'mac-missmatch') return '';
  if (error instanceof RequestError) {
    // @ts-expect-error A request has no such code.
    if (error.code === 'mac-mismatch') return '';
    return error.code satisfies RequestCode;
  }
  return error.code === 'mac-mismatch' ? error.message : '';
}

export async function restore(roomKeys: RoomKeys): Promise<number> {
  const info = await roomKeys.currentVersion();
  // @ts-expect-error There may be none.
  new Restore(roomKeys, info, key);
  if (!info) return 0;
  const restore = new Restore(roomKeys, info, key, { salvage: true });
  for await (const result of restore) if (!result.ok) void result.error.code;
  return restore.summary.ok;
}
export const code: RequestCode = 'rate-limited';
// @ts-expect-error The codes are a closed union.
export const wrong: ErrorCode = 'no-such-code';
void text;
`;

  test.each(SETTINGS)(
    'of the pure parts need nothing but the language, by $moduleResolution',
    async (setting) => {
      expect(await compile('pure.mts', imports(PURE), setting, ['es2022'], [])).toBe('');
    },
  );

  test.each(SETTINGS)('of the web parts need the web, by $moduleResolution', async (setting) => {
    const text = imports([...PURE, ...WEB]) + USE;
    expect(await compile('web.mts', text, setting, ['es2022', 'dom', 'esnext.asynciterable'], [])).toBe('');
  });

  // Since 5.8 the compiler knows that Node can do this.
  test.skipIf(version === '5.6.3')('can be required from CommonJS', async () => {
    const text = `
      import engine = require('megolm-backup/engine');
      export const text: string = engine.encodeRecoveryKey(new Uint8Array(32));`;
    const [, nodenext] = SETTINGS;
    expect(await compile('required.cts', text, nodenext, ['es2022'], [])).toBe('');
  });

  // The types of hono need 5.7.
  test.skipIf(version === '5.6.3')('of every subpath are whole where the optional packages are', async () => {
    const { devDependencies } = manifest;
    const peers = ['@types/node', '@types/pg', 'hono', '@hono/node-server', 'pg', 'prom-client'];
    await project.install(...peers.map((name) => `${name}@${devDependencies[name]}`));
    for (const setting of SETTINGS) {
      expect(await compile('all.mts', imports(SUBPATHS), setting, ['es2022', 'dom'], ['node'])).toBe('');
    }
  });
});

describe('for browsers', () => {
  test('esbuild bundles it, and what it made runs', async () => {
    const imports = `import { ${NAMES} } from 'megolm-backup'; import { base64Encode } from 'megolm-backup/engine';`;
    const entry = await project.write('entry.js', `${roundTrip(imports)} console.log(await roundTrip());`);
    const outfile = join(project.folder, 'bundle.mjs');
    await build({
      entryPoints: [entry],
      outfile,
      bundle: true,
      format: 'esm',
      target: 'es2022',
      platform: 'browser',
    });
    expect(await readFile(outfile, 'utf8')).not.toContain('node:');
    expect(await run(process.execPath, [outfile], project.folder)).toBe('40\n');
  });

  /** Bundlers, each with a program that makes `main.js` of `entry.js` in the folder of its name. */
  const BUNDLERS = {
    webpack: {
      packages: ['webpack@5.113.0'],
      script: `
        import webpack from 'webpack';
        const compiler = webpack({
          mode: 'production',
          target: ['web', 'es2022'],
          context: process.cwd(),
          entry: './entry.js',
          output: { path: process.cwd() + '/webpack', filename: 'main.js', module: true, chunkFormat: 'module' },
          experiments: { outputModule: true },
        });
        const stats = await new Promise((resolve, reject) =>
          compiler.run((error, result) => (error ? reject(error) : resolve(result))));
        const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
        console.log(JSON.stringify([...errors, ...warnings]));`,
    },
    rollup: {
      packages: ['rollup@4.68.8', '@rollup/plugin-node-resolve@16.0.3'],
      script: `
        import { rollup } from 'rollup';
        import resolve from '@rollup/plugin-node-resolve';
        const warnings = [];
        // A comment in @scure/base looks like an annotation.
        const onwarn = ({ id, message }) => id?.includes('@scure') || warnings.push(message);
        const made = await rollup({ input: 'entry.js', plugins: [resolve({ browser: true })], onwarn });
        await made.write({ dir: 'rollup', format: 'es', entryFileNames: 'main.js' });
        console.log(JSON.stringify(warnings));`,
    },
  };

  test.each(Object.entries(BUNDLERS))(
    '%s bundles it without a complaint, and what it made runs',
    async (name, { packages, script }) => {
      await project.install(...packages);
      const imports = `import { ${NAMES} } from 'megolm-backup'; import { base64Encode } from 'megolm-backup/engine';`;
      await project.write('entry.js', `${roundTrip(imports)} console.log(await roundTrip());`);
      expect(await project.node(`${name}.mjs`, script)).toBe('[]\n');
      const made = join(project.folder, name, 'main.js');
      // Examples in comments import modules of Node.
      expect(await readFile(made, 'utf8')).not.toMatch(/^[^*\n]*\b(?:from |import\(|import )["']node:/m);
      expect(await run(process.execPath, [made], project.folder)).toBe('40\n');
    },
  );

  test.skipIf(!existsSync(CHROMIUM))(
    'vite builds a page of it with its workers, which Chromium runs',
    async () => {
      const root = join(project.folder, 'page');
      await mkdir(root);
      await project.write('page/index.html', '<!doctype html><script type="module" src="/main.js"></script>');
      const imports = `
      import { ${NAMES} } from 'megolm-backup';
      import { base64Encode } from 'megolm-backup/engine';
      import { RoomKeys } from 'megolm-backup/client';`;
      await project.write(
        'page/main.js',
        `${roundTrip(imports)}
      globalThis.roomKeys = new RoomKeys({ baseUrl: location.origin });
      globalThis.roundTrip = roundTrip;`,
      );
      await buildByVite({ root, configFile: false, logLevel: 'silent' });
      const assets = await readdir(join(root, 'dist/assets'));
      expect(assets.filter((name) => /^worker-web-.*\.js$/.test(name))).toHaveLength(1);

      const server = await serveFolder(join(root, 'dist'));
      const browser = await chromium.launch({
        executablePath: CHROMIUM,
        args: ['--no-sandbox', '--disable-background-networking'],
      });
      try {
        const page = await browser.newPage();
        const problems: string[] = [];
        page.on('pageerror', (error) => problems.push(String(error)));
        await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
        await page.waitForFunction(() => 'roundTrip' in globalThis);
        const started: string[] = [];
        page.on('worker', (worker) => started.push(worker.url()));
        expect(await page.evaluate('roundTrip()')).toBe(40);
        expect(started.length).toBeGreaterThan(0);
        expect(problems).toEqual([]);
      } finally {
        await browser.close();
        server.close();
      }
    },
  );
});

async function serveFolder(folder: string): Promise<Server> {
  const types: Readonly<Record<string, string>> = { '.js': 'text/javascript', '.html': 'text/html' };
  const server = createServer(({ url = '/' }, response) => {
    const path = url === '/' ? '/index.html' : url;
    readFile(join(folder, path)).then(
      (body) => response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(body),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
