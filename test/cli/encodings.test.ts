import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { sealedExport } from '../support/samples.js';
import { USER, Workspace, backupOf, type Ended } from './workspace.js';

/** Text as other systems write it. */
const ENCODINGS: Record<string, (text: string) => Uint8Array> = {
  'with a byte order mark': (text) => Buffer.from(`\ufeff${text}`),
  'with CRLF': (text) => Buffer.from(text.replace(/\n?$/, '\n').replace(/\n/g, '\r\n')),
  'with Ctrl-Z at its end': (text) => Buffer.from(`${text}\r\n\x1a`),
  'in UTF-16 LE with a byte order mark': (text) => Buffer.from(`\ufeff${text}`, 'utf16le'),
  'in UTF-16 BE with a byte order mark': (text) => Buffer.from(`\ufeff${text}`, 'utf16le').swap16(),
  'in UTF-16 LE without one': (text) => Buffer.from(text, 'utf16le'),
  'in UTF-16 BE without one': (text) => Buffer.from(text, 'utf16le').swap16(),
};

/** What people have instead, and what it is called. */
const OTHERS: Record<string, [content: (text: string) => Uint8Array, message: RegExp]> = {
  'compressed, is named': [(text) => gzipSync(text), /got a compressed file; unpack it/],
  'in a ZIP archive, is named': [
    (text) => Buffer.from(`PK\x03\x04${text}`),
    /got a ZIP archive or an office document/,
  ],
  'in a web page, is named': [(text) => Buffer.from(`<!DOCTYPE html><pre>${text}`), /got a web page/],
  'in rich text, is named': [(text) => Buffer.from(`{\\rtf1 ${text}}`), /got a rich text document/],
  'in a PDF, is named': [(text) => Buffer.from(`%PDF-1.4 ${text}`), /got a PDF/],
  'empty, is named': [() => Buffer.from(''), /empty|got nothing|expected the line/],
};

/** Every file that a command reads, and a command line that reads it and nothing else that is unusual. */
const COMMANDS: Record<string, readonly string[]> = {
  'keys.json': ['decrypt', 'keys.json', '--key-file', 'key.txt'],
  'key.txt': ['decrypt', 'keys.json', '--key-file', 'key.txt'],
  'version.json': ['decrypt', 'keys.json', '--key-file', 'key.txt', '--auth-data', 'version.json'],
  'sessions.json': ['encrypt', 'sessions.json', '--key-file', 'key.txt'],
  'mac-key.txt': ['encrypt', 'sessions.json', '--key-file', 'key.txt', '--mac-key-file', 'mac-key.txt'],
  'trusted.json': [
    'authenticate',
    'keys.json',
    '--key-file',
    'key.txt',
    '--trusted',
    'trusted.json',
    '--all',
  ],
  'element-keys.txt': ['export', 'decrypt', 'element-keys.txt', '--passphrase-file', 'phrase.txt'],
  'phrase.txt': ['export', 'decrypt', 'element-keys.txt', '--passphrase-file', 'phrase.txt'],
  'to-export.json': ['export', 'encrypt', 'to-export.json', '--passphrase-file', 'phrase.txt'],
  ...Object.fromEntries(
    ['r-version.json', 'r-keys.json', 'r-account.json', 'r-key.txt', 'r-phrase.txt'].map((name) => [
      name,
      [
        ...['rescue', '--version-file', 'r-version.json', '--backup-file', 'r-keys.json'],
        ...['--account-data-file', 'r-account.json', '--key-file', 'r-key.txt'],
        ...['--export-passphrase-file', 'r-phrase.txt'],
      ],
    ]),
  ),
};

let server: KeyBackupServer;

beforeAll(async () => {
  server = await new KeyBackupServer().start();
});

afterAll(() => server.stop());

/** The same of the commands that write no file of their own. */
const WITHOUT_OUTPUT: Record<string, () => readonly string[]> = {
  'token.txt': () => ['versions', ...at('token.txt')],
  'to-upload.json': () => ['upload', 'to-upload.json', ...at('t.txt'), '--key-file', 'key.txt'],
  'storage.txt': () => [
    ...['mac-key', '--store', ...at('t.txt'), '--key-file', 'key.txt'],
    ...['--storage-key-file', 'storage.txt'],
  ],
  'v-version.json': () => ['verify', 'v-version.json', '--user', USER, '--key-file', 'key.txt'],
};

const at = (token: string) => ['--homeserver', server.url, '--token-file', token];

/** A workspace with all of these files as they should be. */
async function prepared(): Promise<Workspace> {
  const work = new Workspace();
  const { key } = work;
  const sessions = [work.session()];
  const storage = SecretStorageKey.generate('k');
  const phrase = 'ein Passwort für Zoë';
  const version = {
    algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2',
    auth_data: createAuthData(key.publicKey),
  };
  for (const name of ['keys.json', 'r-keys.json']) work.writeJson(name, backupOf(sessions, key));
  server.createVersion(BACKUP_ALGORITHM, { ...version.auth_data });
  const put = (type: string, content: unknown) =>
    server.accountData.set(`${USER}/account_data/${type}`, content);
  put('m.secret_storage.default_key', { key: 'k' });
  put('m.secret_storage.key.k', storage.describe());
  for (const name of ['token.txt', 't.txt']) work.write(name, 'syt_token\n');
  work.write('storage.txt', storage.toRecoveryKey());
  work.writeJson('to-upload.json', sessions);
  for (const name of ['version.json', 'r-version.json', 'v-version.json']) work.writeJson(name, version);
  for (const name of ['sessions.json', 'trusted.json', 'to-export.json']) work.writeJson(name, sessions);
  for (const name of ['phrase.txt', 'r-phrase.txt']) work.write(name, `${phrase}\n`);
  work.write('element-keys.txt', sealedExport({ plaintext: JSON.stringify(sessions), passphrase: phrase }));
  work.write('r-key.txt', storage.toRecoveryKey());
  work.writeJson('r-account.json', {
    'm.secret_storage.default_key': { key: 'k' },
    'm.secret_storage.key.k': storage.describe(),
    'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', key.toBase64()),
  });
  await work.run(['mac-key', '--key-file', 'key.txt', '-o', 'mac-key.txt']);
  return work;
}

const FILES = [...Object.keys(COMMANDS), ...Object.keys(WITHOUT_OUTPUT)];

const run = (work: Workspace, name: string): Promise<Ended> => {
  const isFile = Object.hasOwn(COMMANDS, name);
  return work.run(isFile ? [...COMMANDS[name], '-o', 'out', '--force'] : WITHOUT_OUTPUT[name]());
};

describe('a file of another system', () => {
  it.each(Object.entries(ENCODINGS))('is read %s, by every command', async (_, encode) => {
    const work = await prepared();
    for (const name of FILES) work.write(name, encode(work.read(name)));
    // Each command line once.
    const names = new Map(Object.entries(COMMANDS).map(([name, args]) => [args.join(' '), name])).values();
    for (const name of [...names, ...Object.keys(WITHOUT_OUTPUT)]) {
      expect({ name, ...(await run(work, name)) }).toMatchObject({ name, code: 0 });
    }
  });

  it.each(Object.entries(OTHERS))('%s, by every command', async (_, [content, message]) => {
    const work = await prepared();
    for (const name of FILES) {
      const good = work.read(name);
      work.write(name, content(good));
      const end = await run(work, name);
      expect({ name, code: end.code, stderr: end.stderr }).toEqual({
        name,
        // A file without its first line is a damaged export, not unreadable input.
        code: name === 'element-keys.txt' && content('x').length === 0 ? 1 : 2,
        stderr: expect.stringMatching(message) as string,
      });
      work.write(name, good);
      expect(work.filesBut(...FILES, 't.txt')).toEqual([]);
    }
  });

  it('whose bytes are not UTF-8 is named with the place, and nothing is decoded into something else', async () => {
    const work = await prepared();
    for (const name of [
      'phrase.txt',
      'r-phrase.txt',
      'version.json',
      'key.txt',
      'r-account.json',
      'mac-key.txt',
      'token.txt',
      'storage.txt',
      'v-version.json',
    ]) {
      const good = work.read(name);
      work.write(name, Buffer.from(`${good.trim().slice(0, -1)}\xfc`, 'latin1'));
      const end = await run(work, name);
      expect({ name, code: end.code }).toEqual({ name, code: 2 });
      expect(end.stderr).toMatch(/got another encoding: byte \d+ is not UTF-8; save it as UTF-8/);
      work.write(name, good);
    }
  });
});
