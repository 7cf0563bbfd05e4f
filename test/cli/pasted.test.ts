import { pbkdf2Sync, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { base64Encode } from '../../src/encoding/base64.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { BACKUP_ALGORITHM, createAuthData, ed25519Signer, signAuthData } from '../../src/scheme/auth-data.js';
import { BACKUP_MAC_SECRET } from '../../src/scheme/backup-mac.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { sealedExport } from '../support/samples.js';
import { USER, Workspace, backupOf, type Ended } from './workspace.js';

/** A text as it is pasted or typed, by what was done to it. */
type Forms = Readonly<Record<string, (text: string) => string>>;

const urlSafe = (text: string) => text.replaceAll('+', '-').replaceAll('/', '_');

/** Around any text, whatever it is. */
const AROUND: Forms = {
  'as it is': (text) => text,
  'with spaces and line ends around it': (text) => `  ${text} \r\n\n`,
  'in quotation marks': (text) => `"${text}"`,
  'in typographic quotation marks': (text) => `“${text}”`,
  'in backticks': (text) => `\`${text}\``,
  'in angle brackets': (text) => `<${text}>`,
  'with a comma behind it': (text) => `"${text}",`,
  'with zero-width characters': (text) => `\ufeff${text.slice(0, 5)}\u200b${text.slice(5)}\u2060`,
  'with a soft hyphen': (text) => `${text.slice(0, 9)}\u00ad${text.slice(9)}`,
};
const BROKEN: Forms = {
  'over two lines': (text) => `${text.slice(0, 12)}\n${text.slice(12)}`,
  'over two lines, the second of them indented': (text) => `${text.slice(0, 12)}\r\n   ${text.slice(12)}`,
  'with a space in it': (text) => `${text.slice(0, 12)} ${text.slice(12)}`,
};
const TOKEN: Forms = {
  ...AROUND,
  ...BROKEN,
  'behind Bearer': (text) => `Bearer ${text}`,
  'in a header': (text) => `Authorization: Bearer ${text}`,
  'behind a label': (text) => `Access Token: ${text}`,
  'with a line end that is written out': (text) => `${text}\\n`,
  'out of the answer to a login': (text) =>
    JSON.stringify({ user_id: USER, access_token: text, device_id: 'D' }),
};
const BASE64: Forms = {
  ...AROUND,
  ...BROKEN,
  padded: (text) => `${text}=`,
  'URL-safe': urlSafe,
  'URL-safe and padded': (text) => `${urlSafe(text)}=`,
  'URL-safe in quotation marks': (text) => `"${urlSafe(text)}"`,
};
const TEXT_FORM: Forms = {
  ...AROUND,
  ...BROKEN,
  'without spaces': (text) => text.replaceAll(' ', ''),
  'over twelve lines': (text) => text.replaceAll(' ', '\n'),
  'with dashes': (text) => text.replaceAll(' ', '-'),
  'in a quoted mail': (text) => `> ${text.slice(0, 29)}\n> ${text.slice(30)}\n`,
  'behind a label': (text) => `Recovery key: ${text}`,
  'with a Cyrillic letter': (text) => text.replace('E', '\u0415'),
  'in full-width letters': (text) =>
    text.replace(/[A-Z]/g, (c) => String.fromCharCode(c.charCodeAt(0) + 0xfee0)),
  'with no-break spaces': (text) => text.replaceAll(' ', '\u00a0'),
};
/** How a passphrase is typed, and as what it was set. */
const PHRASES: readonly (readonly [set: string, typed: string])[] = [
  ['Schlüssel zum Tor', 'Schlüssel zum Tor'],
  ['Schlüssel zum Tor', 'Schlüssel zum Tor'.normalize('NFD')],
  ['Schlüssel zum Tor'.normalize('NFD'), 'Schlüssel zum Tor'],
  ['two fish', 'two fish '],
  ['two fish ', 'two fish'],
  ['two fish\n', 'two fish'],
  ['two fish', '\ufefftwo fish\u00a0'],
  ['two\u00a0fish', 'two fish'],
  ['two fish', 'two\u00a0fish'],
  ["it's -- fish", 'it’s — fish'],
  ['it’s — fish', "it's -- fish"],
  ['two fish', 'Two fish'],
  ['two fish', 'TWO FISH'],
  ['two fish', 'ｔwo fish'],
];

const TOKEN_TEXT = 'syt_YWxpY2U_x-y.z~';
const work = new Workspace();
const { key } = work;
const seed = randomBytes(32);
const device = base64Encode(publicSigningKeyOf(seed));
const master = base64Encode(publicSigningKeyOf(Buffer.from(seed).fill(1, 0, 4)));
const storage = SecretStorageKey.generate('k');
const files = ['--version-file', 'version.json', '--backup-file', 'backup.json'];
let server: KeyBackupServer;
let at: string[];

/** The commands by what they are called here; `at` is known once the server runs. */
const RESCUE = ['rescue', '--export-passphrase-file', 'phrase.txt', '-o', 'out', '--force'];
const OUT = ['-o', 'out', '--force'];
const KEY = ['--key-file', 'key.txt'];

beforeAll(async () => {
  server = await new KeyBackupServer().start();
  at = ['--homeserver', server.url, '--token-file', 'token.txt'];
  const session = work.session();
  const signers = [ed25519Signer(USER, seed, 'DEVICE'), ed25519Signer(USER, Buffer.from(seed).fill(1, 0, 4))];
  const auth_data = signAuthData(createAuthData(key.publicKey), signers);
  const version = server.createVersion(BACKUP_ALGORITHM, { ...auth_data });
  const backup = backupOf([session], key);
  for (const [room, { sessions }] of Object.entries(backup.rooms)) {
    for (const [id, record] of Object.entries(sessions)) server.store(version, room, id, record as never);
  }
  work.secrets.push(storage.toRecoveryKey());
  work.writeJson('version.json', { auth_data });
  work.writeJson('backup.json', backup);
  work.writeJson('export.json', [session]);
  work.write('token.txt', `${TOKEN_TEXT}\n`);
  work.write('phrase.txt', 'a phrase for the export\n');
  const secret = storage.encryptSecret('m.megolm_backup.v1', key.toBase64());
  const put = (type: string, content: unknown) =>
    server.accountData.set(`${USER}/account_data/${type}`, content);
  put('m.secret_storage.default_key', { key: 'k' });
  put('m.secret_storage.key.k', storage.describe());
  put('m.megolm_backup.v1', secret);
});

afterAll(() => server.stop());

/** `rescue` takes long to write its file: it gets every eighth form. */
const every = (command: string, forms: Forms): Forms =>
  command === 'rescue' ? Object.fromEntries(Object.entries(forms).filter((_, i) => i % 8 === 1)) : forms;

/** Runs a command with each form of what is in a file, or in an argument. */
async function each(
  forms: Forms,
  text: string,
  run: (pasted: string) => Promise<Ended>,
  expected: object = { code: 0 },
): Promise<void> {
  for (const [what, form] of Object.entries(forms))
    expect({ what, ...(await run(form(text))) }).toMatchObject(expected);
}

describe('an access token', () => {
  it.each<[string, () => string[]]>([
    ['versions', () => ['versions']],
    ['diagnose', () => ['diagnose', ...KEY]],
    ['restore', () => ['restore', ...KEY, ...OUT]],
    ['save', () => ['save', 'saved', '--force']],
    ['upload', () => ['upload', 'export.json', ...KEY]],
    ['rescue', () => [...RESCUE, ...KEY]],
    ['authenticate', () => ['authenticate', ...KEY, '--trusted', 'export.json']],
    ['mac-key', () => ['mac-key', '--store', ...KEY, '--storage-key-file', 'storage.txt']],
  ])('is read as it is pasted by %s', async (command, args) => {
    work.write('storage.txt', storage.toRecoveryKey());
    await each(every(command, TOKEN), TOKEN_TEXT, async (pasted) => {
      server.seen.length = 0;
      work.write('pasted.txt', pasted);
      const end = await work.run([...args(), '--homeserver', server.url, '--token-file', 'pasted.txt']);
      const sent = new Set(server.seen.map(({ authorization }) => authorization ?? `Bearer ${TOKEN_TEXT}`));
      expect([...sent]).toEqual([`Bearer ${TOKEN_TEXT}`]);
      return { ...end, code: end.code === 1 ? 0 : end.code };
    });
  });

  it('with white space in it is read, and that is said', async () => {
    work.write('pasted.txt', `${TOKEN_TEXT.slice(0, 4)}\n${TOKEN_TEXT.slice(4)}`);
    const end = await work.run(['versions', '--homeserver', server.url, '--token-file', 'pasted.txt']);
    expect(end.stderr).toContain('the access token was read without the white space in it\n');
  });

  it.each(['', '\n', '""', 'pässword'])('is not %j', async (text) => {
    work.write('pasted.txt', text);
    const end = await work.run(['versions', '--homeserver', server.url, '--token-file', 'pasted.txt']);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('access token: expected printable characters, got');
  });
});

describe('the decryption key of a backup', () => {
  it.each<[string, () => string[]]>([
    ['decrypt', () => ['decrypt', 'backup.json', ...OUT]],
    ['encrypt', () => ['encrypt', 'export.json', ...OUT]],
    ['verify', () => ['verify', 'version.json', '--user', USER]],
    ['authenticate', () => ['authenticate', 'backup.json', '--trusted', 'export.json', ...OUT]],
    ['mac-key', () => ['mac-key']],
    ['restore', () => ['restore', ...at, ...OUT]],
    ['upload', () => ['upload', 'export.json', ...at]],
    ['versions', () => ['versions', ...at]],
    ['rescue', () => [...RESCUE, ...files]],
  ])('is read as it is pasted by %s', async (command, args) => {
    const run = (pasted: string) => {
      work.write('pasted.txt', pasted);
      return work.run([...args(), '--key-file', 'pasted.txt']);
    };
    await each(every(command, TEXT_FORM), key.toRecoveryKey(), run);
    await each(every(command, BASE64), key.toBase64(), run);
  });
});

describe('the key of a secret storage', () => {
  it.each<[string, () => string[]]>([
    ['rescue', () => [...RESCUE, ...at, '--key-file', 'pasted.txt']],
    ['mac-key', () => ['mac-key', '--store', ...at, ...KEY, '--storage-key-file', 'pasted.txt']],
  ])('is read as it is pasted by %s', async (command, args) => {
    await each(every(command, TEXT_FORM), storage.toRecoveryKey(), (pasted) => {
      work.write('pasted.txt', pasted);
      return work.run(args());
    });
  });
});

describe('a public key', () => {
  it('is read as it is pasted by encrypt', async () => {
    const run = (pasted: string) => work.run(['encrypt', 'export.json', '--public-key', pasted, ...OUT]);
    await each(BASE64, key.publicKey.toBase64(), async (pasted) => {
      const end = await run(pasted);
      const opened = await work.run(['decrypt', 'out', ...KEY]);
      expect(opened.code).toBe(0);
      return end;
    });
  });

  it.each<[string, () => string, RegExp]>([
    ['the decryption key', () => key.toRecoveryKey(), /got the text form of a decryption key; .* --key-file/],
    ['a mixture of two alphabets', () => `+-${key.publicKey.toBase64().slice(2)}`, /standard base64/],
    ['a key that is cut off', () => key.publicKey.toBase64().slice(0, 40), /expected 32 bytes, got 30/],
  ])('is not %s, which is named', async (_, text, message) => {
    const end = await work.run(['encrypt', 'export.json', '--public-key', text(), ...OUT]);
    expect(end.code).toBe(2);
    expect(end.stderr).toMatch(message);
  });
});

describe('a signing key', () => {
  const WHOLE: Forms = {
    ...AROUND,
    padded: (text) => `${text}=`,
    'as it stands in JSON': (text) => text.replace(/^(.*?)=(.*)$/, '"$1": "$2",'),
    'with a space behind the colon': (text) => text.replace(/^(ed25519:[^=]*)=/, '$1: '),
    'in groups of four letters': (text) =>
      text.replace(/=(.*)$/, (_, base64: string) => `=${base64.match(/.{1,4}/g)?.join(' ') ?? ''}`),
    'URL-safe': urlSafe,
    'URL-safe and padded': (text) => `${urlSafe(text)}=`,
  };

  it.each<[string, (option: string) => string[]]>([
    ['verify', (pasted) => ['verify', 'version.json', '--user', USER, '--key', pasted]],
    ['versions', (pasted) => ['versions', ...at, '--key', pasted]],
    ['diagnose', (pasted) => ['diagnose', ...at, '--key', pasted]],
    ['upload', (pasted) => ['upload', 'export.json', ...at, '--key', pasted]],
    [
      'encrypt',
      (pasted) => [
        'encrypt',
        'export.json',
        '--auth-data',
        'version.json',
        '--user',
        USER,
        '--key',
        pasted,
        ...OUT,
      ],
    ],
  ])('of a device, and a master key, are read as they are pasted by %s', async (_, args) => {
    await each(WHOLE, `ed25519:DEVICE=${device}`, (pasted) => work.run(args(pasted)));
    await each(WHOLE, `ed25519:${master}=${master}`, (pasted) => work.run(args(pasted)));
  });

  it('is read as it is pasted as --known-key', async () => {
    await each(
      WHOLE,
      `ed25519:DEVICE=${device}`,
      (pasted) => work.run(['verify', 'version.json', '--user', USER, '--known-key', pasted]),
      { code: 1, stdout: expect.stringContaining('valid, but not trusted') as string },
    );
  });
});

describe('a user id and a homeserver', () => {
  it('are read as they are pasted', async () => {
    const verify = (user: string) => work.run(['verify', 'version.json', '--user', user, ...KEY]);
    await each(AROUND, USER, verify);
    const versions = (url: string) =>
      work.run(['versions', '--homeserver', url, '--token-file', 'token.txt']);
    await each(AROUND, server.url, versions);
  });
});

describe('a passphrase', () => {
  const derived = (set: string) => {
    const salt = 'a salt';
    return { salt, bytes: pbkdf2Sync(set, salt, 10, 32, 'sha512') };
  };
  /** Account data with a storage key of this phrase. */
  function phrased(set: string): Record<string, unknown> {
    const { salt, bytes } = derived(set);
    const own = SecretStorageKey.fromBytes(bytes, 'k');
    const passphrase = { algorithm: 'm.pbkdf2', salt, iterations: 10 };
    return {
      'm.secret_storage.default_key': { key: 'k' },
      'm.secret_storage.key.k': { ...own.describe({ allowUnproven: true }), passphrase },
      'm.megolm_backup.v1': own.encryptSecret('m.megolm_backup.v1', key.toBase64(), { allowUnproven: true }),
    };
  }

  it.each(PHRASES)(
    'set as %j and typed as %j is read by export decrypt, which tells the form',
    async (set, typed) => {
      work.write('typed.txt', typed);
      work.write('keys.txt', sealedExport({ plaintext: work.read('export.json'), passphrase: set }));
      const end = await work.run(['export', 'decrypt', 'keys.txt', '--passphrase-file', 'typed.txt', ...OUT]);
      expect(end.code).toBe(0);
      expect(end.stderr.includes('the passphrase fits'), end.stderr).toBe(set !== typed);
    },
  );

  it.each(PHRASES.filter((_, i) => i % 7 === 1))(
    'set as %j and typed as %j is read by rescue, as the one of the storage and of the backup',
    async (set, typed) => {
      work.write('typed.txt', typed);
      const rescue = [...RESCUE, '--key-file', 'typed.txt', '--correct'];
      work.writeJson('account.json', phrased(set));
      const { salt, bytes } = derived(set);
      const legacy = BackupDecryptionKey.fromBytes(bytes);
      const more = { private_key_salt: salt, private_key_iterations: 10 };
      work.writeJson('legacy.json', { auth_data: createAuthData(legacy.publicKey, more) });
      work.writeJson('legacy-keys.json', backupOf([work.session()], legacy));
      for (const args of [
        [...files, '--account-data-file', 'account.json'],
        ['--version-file', 'legacy.json', '--backup-file', 'legacy-keys.json'],
      ]) {
        const end = await work.run([...rescue, ...args]);
        expect(end).toMatchObject({
          code: 0,
          stderr: expect.stringContaining('corrected what was given') as string,
        });
      }
    },
  );

  it.each(PHRASES)('set as %j and typed as %j opens the storage for mac-key', async (set, typed) => {
    work.write('typed.txt', typed);
    for (const [type, content] of Object.entries(phrased(set))) {
      server.accountData.set(`${USER}/account_data/${type}`, content);
    }
    server.accountData.delete(`${USER}/account_data/${BACKUP_MAC_SECRET.unstable}`);
    const store = ['mac-key', '--fetch', ...at, '--storage-key-file', 'typed.txt'];
    const end = await work.run(store);
    // There is no MAC key yet: the storage is open.
    expect(end.stderr).toContain('expected a MAC key, found none');
    expect(end.stderr.includes('the phrase fits'), end.stderr).toBe(set !== typed);
  });
});
