import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Project, REQUIRES, SUBPATHS, manifest, roundTrip, run } from './project.js';

/** The package, packed and installed into an empty project, used on Node and by TypeScript. */

let project: Project;

beforeAll(async () => {
  project = await Project.create();
});

afterAll(() => project.remove());

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
    const script = `${roundTrip()} console.log(await roundTrip());`;
    expect(await project.node('esm.mjs', script)).toBe('40\n');
  });

  test('sessions go there and back from CommonJS', async () => {
    const script = `${roundTrip(REQUIRES)} roundTrip().then(console.log);`;
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
