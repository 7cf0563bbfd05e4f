import { pbkdf2Sync } from 'node:crypto';
import { describe, expect, test, vi } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { createAuthData } from '../../src/scheme/auth-data.js';
import { base64Decode, base64Encode } from '../../src/encoding/base64.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import { passphraseForms } from '../../src/scheme/passphrase-forms.js';
import { decodeRecoveryKey, encodeRecoveryKey } from '../../src/scheme/recovery-key.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { unlock, type UnlockOptions } from '../../src/secret-storage/unlock.js';
import { areWiped, secretsSeenIn } from '../support/seen-secrets.js';
import { rejection, wellSaid } from '../support/samples.js';

const backend = nodeBackend();
// Fixed, so that what a mistake happens to pass is the same every time.
const backup = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x5a));
const authData = createAuthData(backup.publicKey);
const PHRASE = 'correct Schlüssel';
const SALT = 'storage salt';
const storageBytes = pbkdf2Sync(PHRASE, SALT, 10, 32, 'sha512');
const storage = storageKey(storageBytes);
const passphrase = { algorithm: 'm.pbkdf2', salt: SALT, iterations: 10 };
const seed = base64Encode(new Uint8Array(32).fill(9));

/** A key of the secret storage that may write. */
function storageKey(bytes: Uint8Array): SecretStorageKey {
  const key = SecretStorageKey.fromBytes(bytes, 'main');
  key.check(key.describe({ allowUnproven: true }));
  return key;
}

function account(change: object = {}) {
  return {
    'm.secret_storage.default_key': { key: 'main' },
    'm.secret_storage.key.main': { ...storage.describe(), passphrase },
    'm.secret_storage.key.other': SecretStorageKey.generate('other').describe(),
    'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', backup.toBase64()),
    'm.cross_signing.master': storage.encryptSecret('m.cross_signing.master', seed),
    ...change,
  };
}

const legacyKey = pbkdf2Sync('old phrase', 'salt', 5, 32, 'sha512');
const legacy = createAuthData(BackupDecryptionKey.fromBytes(Uint8Array.from(legacyKey)).publicKey, {
  private_key_salt: 'salt',
  private_key_iterations: 5,
});

/** The outcome in a line. */
async function outcome(given: string, options: UnlockOptions) {
  const result = await unlock(given, { backend, ...options });
  if (result.ok) return `${result.by}${result.keyMatches ? '' : ' (unchecked)'}`;
  const { error, suggestion, tried } = result;
  for (const refused of [error, ...tried.map((attempt) => attempt.error)]) wellSaid(refused);
  const reason = [error.code, error.check].filter(Boolean).join(' ');
  return suggestion ? `${reason}; ${suggestion.by} by ${suggestion.change}` : reason;
}

const everything = { authData, accountData: account() };
const wrong = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x77)).toRecoveryKey();

describe('refuses', () => {
  test.each<[string, string, UnlockOptions, string]>([
    ['an unrelated key', wrong, everything, 'wrong-key'],
    ['an unrelated key, backup only', wrong, { authData }, 'wrong-key'],
    ['base64 of an unrelated key', base64Encode(new Uint8Array(32).fill(3)), { authData }, 'wrong-key'],
    ['a phrase where none was set', 'some phrase', { authData }, 'missing-field'],
    ['a wrong phrase', 'some phrase', everything, 'wrong-passphrase'],
    ['a wrong legacy passphrase', 'some phrase', { authData: legacy }, 'wrong-passphrase'],
    ['nothing', '', { authData }, 'missing-field'],
    ['a key that lost its first group', wrong.slice(5), { authData }, 'bad-recovery-key length'],
    ['a key that lost its last groups', wrong.slice(0, 49), everything, 'bad-recovery-key length'],
    [
      'a key without spaces that lost a part',
      wrong.replace(/ /g, '').slice(0, 40),
      {},
      'bad-recovery-key length',
    ],
    ['a phrase that begins as a key', 'Escape From The House In 1999 Again', everything, 'wrong-passphrase'],
    [
      'a key without anything it could fit, mistyped',
      `${wrong.slice(0, -1)}${wrong.endsWith('z') ? 'y' : 'z'}`,
      {},
      'bad-recovery-key parity',
    ],
    [
      'an account whose phrase has too many rounds',
      'a phrase',
      {
        authData,
        accountData: account({
          'm.secret_storage.key.main': {
            ...storage.describe(),
            passphrase: { ...passphrase, iterations: 1e9 },
          },
        }),
      },
      'bad-parameters',
    ],
    [
      'a wrong phrase where another storage asks for too many rounds',
      'a phrase',
      {
        authData: legacy,
        accountData: account({
          'm.secret_storage.key.main': {
            ...storage.describe(),
            passphrase: { ...passphrase, iterations: 1e9 },
          },
        }),
      },
      'wrong-passphrase',
    ],
    [
      'a phrase where one storage has none and another asks for too many rounds',
      'a phrase',
      {
        authData,
        accountData: account({
          'm.secret_storage.default_key': { key: 'other' },
          'm.secret_storage.key.main': {
            ...storage.describe(),
            passphrase: { ...passphrase, iterations: 1e9 },
          },
        }),
      },
      'bad-parameters',
    ],
    ['a phrase as long as one may be', 'x'.repeat(4096), { authData }, 'missing-field'],
    [
      'a storage without the backup key',
      storage.toRecoveryKey(),
      { authData, accountData: account({ 'm.megolm_backup.v1': {} }) },
      'missing-field',
    ],
    [
      'a storage with a changed backup key',
      storage.toRecoveryKey(),
      {
        authData,
        accountData: account({
          'm.megolm_backup.v1': {
            encrypted: { main: { ...storage.encryptSecret('x', 'y').encrypted.main } },
          },
        }),
      },
      'mac-mismatch',
    ],
    [
      'a storage with the key of another backup',
      storage.toRecoveryKey(),
      { ...everything, authData: createAuthData(BackupDecryptionKey.generate().publicKey) },
      'wrong-key',
    ],
    [
      'the same, by its phrase',
      PHRASE,
      { ...everything, authData: createAuthData(BackupDecryptionKey.generate().publicKey) },
      'wrong-key',
    ],
    [
      'a storage without the backup key, by its phrase',
      PHRASE,
      { authData, accountData: account({ 'm.megolm_backup.v1': {} }) },
      'missing-field',
    ],
    [
      'an unrelated key where only the secret itself could tell',
      wrong,
      {
        authData,
        accountData: account({
          'm.secret_storage.key.main': { algorithm: 'm.secret_storage.v1.aes-hmac-sha2' },
        }),
      },
      'wrong-key',
    ],
    [
      'a storage with something else as backup key',
      storage.toRecoveryKey(),
      {
        authData,
        accountData: account({ 'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', 'hello') }),
      },
      'bad-base64',
    ],
    [
      'account data that is nonsense',
      wrong,
      {
        authData,
        accountData: {
          'm.secret_storage.default_key': 5,
          'm.secret_storage.key.a': null,
          'm.secret_storage.key.': [],
        },
      },
      'wrong-key',
    ],
  ])('%s', async (_, given, options, expected) => {
    expect(await outcome(given, options)).toBe(expected);
  });

  test.each([5, null, undefined, 'x'.repeat(4097)])('%s as a key', async (given) => {
    expect((await rejection(unlock(given as never))).code).toBe('bad-parameters');
  });

  test('a thousand storage keys with ten million rounds each, soon', async () => {
    const many = Object.fromEntries(
      Array.from({ length: 1000 }, (_, i) => [
        `m.secret_storage.key.${i}`,
        {
          ...SecretStorageKey.generate(String(i)).describe(),
          passphrase: { ...passphrase, iterations: 10_000_000 },
        },
      ]),
    );
    const { asked, backend } = counter();
    const result = await unlock(' ﬁ phrase', { authData, accountData: many, backend });
    expect(result).toMatchObject({ ok: false, error: { code: 'wrong-passphrase' } });
    expect(asked.rounds).toBeLessThanOrEqual(20_000_000);
  });

  /** Counts what is asked of it, and gives keys that fit nothing. */
  function counter() {
    const asked = { rounds: 0, calls: 0 };
    const backend = {
      name: 'counting',
      pbkdf2: (_p: Uint8Array, _s: Uint8Array, iterations: number, length: number) => {
        asked.rounds += iterations;
        asked.calls++;
        return Promise.resolve(new Uint8Array(length));
      },
    };
    return { asked, backend };
  }

  test('an unrelated key at once: by its form it is not a phrase', async () => {
    const { asked, backend } = counter();
    const result = await unlock(wrong, { ...everything, backend });
    expect(result).toMatchObject({ ok: false, error: { code: 'wrong-key' } });
    expect(asked.calls).toBe(0);
  });

  test('more storages than an account has', async () => {
    const many = Object.fromEntries(
      Array.from({ length: 1000 }, (_, i) => [
        `m.secret_storage.key.${i}`,
        { ...SecretStorageKey.generate(String(i)).describe(), passphrase },
      ]),
    );
    const { asked, backend } = counter();
    await unlock('phrase', { authData, accountData: many, backend });
    // The phrase and its other forms, once each.
    expect(asked.calls).toBeLessThanOrEqual(8 * (1 + passphraseForms('phrase').length));
  });

  test('a phrase, and lists what it was tried as and not what it resembles', async () => {
    const result = await unlock(' ﬁ phrase ', { backend, authData: legacy, accountData: account() });
    expect(!result.ok && result.tried.map(({ as, error }) => [as, error.code])).toEqual([
      ['security-phrase', 'wrong-passphrase'],
      ['security-phrase', 'missing-field'],
      ['backup-passphrase', 'wrong-passphrase'],
    ]);
  });

  test('when aborted while a phrase is tried', async () => {
    const abort = new AbortController();
    const hanging = {
      name: 'hanging',
      pbkdf2: () => {
        abort.abort();
        return new Promise<Uint8Array>(() => undefined);
      },
    };
    const options = { ...everything, backend: hanging, signal: abort.signal };
    await expect(unlock('some phrase', options)).rejects.toMatchObject({ code: 'aborted' });
  });

  test('more rounds in the auth_data and the account data together than one account may cost', async () => {
    const { asked, backend } = counter();
    const costly = { ...storage.describe(), passphrase: { ...passphrase, iterations: 9_000_000 } };
    const other = { ...costly, passphrase: { ...costly.passphrase, salt: 'another' } };
    const accountData = { 'm.secret_storage.key.main': costly, 'm.secret_storage.key.other': other };
    const legacyToo = { ...legacy, private_key_iterations: 9_000_000 };
    const result = await unlock('some phrase', { authData: legacyToo, accountData, backend });
    expect(asked.rounds).toBe(18_000_000);
    const last = result.ok ? undefined : result.tried.at(-1);
    expect(last).toMatchObject({ as: 'backup-passphrase', error: { code: 'bad-parameters' } });
    expect(last?.error.message).toMatch(/expected at most 20,000,000 rounds .* not tried$/);
  });

  test('no rounds up to that: 20,000,000 are tried', async () => {
    const { asked, backend } = counter();
    const costly = { ...storage.describe(), passphrase: { ...passphrase, iterations: 10_000_000 } };
    const other = { ...costly, passphrase: { ...costly.passphrase, salt: 'another' } };
    const accountData = { 'm.secret_storage.key.main': costly, 'm.secret_storage.key.other': other };
    await unlock('some phrase', { authData, accountData, backend });
    expect(asked.rounds).toBe(20_000_000);
  });

  test('an empty phrase is not tried for one that is only space', async () => {
    const { asked, backend } = counter();
    await unlock('  ', { ...everything, backend });
    expect(asked.calls).toBe(1);
  });

  test('a phrase, in one sentence for all that it was tried as', async () => {
    const wrongOne = await unlock('some phrase', { backend, ...everything });
    expect(!wrongOne.ok && wrongOne.error.message).toBe(
      'expected the account’s security phrase or passphrase, got another',
    );
    const accountData = { 'm.secret_storage.key.main': storage.describe() };
    const without = await unlock('some phrase', { authData, accountData });
    expect(!without.ok && without.error.message).toMatch(/this account has neither a security phrase nor/);
  });

  test('a phrase where the account data is nonsense, without trying it', async () => {
    const accountData = { 'm.secret_storage.default_key': 5, 'm.secret_storage.key.a': null };
    const result = await unlock('some phrase', { authData, accountData });
    expect(result).toMatchObject({ ok: false, error: { code: 'missing-field' }, tried: [] });
  });

  test('a storage without the backup key, and says that it opened', async () => {
    for (const given of [PHRASE, storage.toRecoveryKey()]) {
      const without = account({ 'm.megolm_backup.v1': {} });
      const result = await unlock(given, { backend, authData, accountData: without });
      expect(!result.ok && result.error.message).toMatch(
        /^the secret storage opened, but holds no backup key: ./,
      );
    }
  });

  test('no fault of the program: that is thrown', async () => {
    const faulty = account();
    Object.defineProperty(faulty, 'm.megolm_backup.v1', {
      get: () => {
        throw new TypeError('a fault');
      },
    });
    await expect(unlock(storage.toRecoveryKey(), { authData, accountData: faulty })).rejects.toThrow(
      'a fault',
    );
  });

  test('when aborted, also while it searches', async () => {
    await expect(unlock(wrong, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
    const abort = new AbortController();
    // A clock on which every look is a turn later, however fast the machine.
    let time = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (time += 1000));
    setImmediate(() => {
      abort.abort();
    });
    try {
      await expect(unlock(wrong, { ...everything, signal: abort.signal })).rejects.toMatchObject({
        code: 'aborted',
      });
    } finally {
      clock.mockRestore();
    }
  });

  test('without showing what was given', async () => {
    for (const given of [wrong, 'some phrase', `${wrong}0`]) {
      const result = await unlock(given, { backend, ...everything });
      const shown = JSON.stringify(result, (_, value) => (value instanceof Error ? value.message : value));
      expect(shown).not.toContain(given.slice(0, 9));
    }
  });
});

describe('opens and says which it was', () => {
  const noBackupInfo = { accountData: account() };
  test.each<[string, string, UnlockOptions, string]>([
    ['the backup decryption key', backup.toRecoveryKey(), everything, 'backup-decryption-key'],
    ['the same without account data', backup.toRecoveryKey(), { authData }, 'backup-decryption-key'],
    ['the same in base64', backup.toBase64(), everything, 'backup-decryption-key'],
    [
      'the same in base64, in groups',
      backup.toBase64().replace(/.{8}/g, '$& '),
      everything,
      'backup-decryption-key',
    ],
    [
      'the same as an old client stored it',
      [...backup.toBytes()].join(','),
      { authData },
      'backup-decryption-key',
    ],
    ['the secret storage key', storage.toRecoveryKey(), everything, 'secret-storage-key'],
    [
      'the same with all kinds of white space',
      storage.toRecoveryKey().replaceAll(' ', '\u00a0\n\t'),
      everything,
      'secret-storage-key',
    ],
    ['the same in base64', base64Encode(Uint8Array.from(storageBytes)), everything, 'secret-storage-key'],
    ['the security phrase', PHRASE, everything, 'security-phrase'],
    ['the passphrase of a legacy backup', 'old phrase', { authData: legacy }, 'backup-passphrase'],
    [
      'the same beside a secret storage',
      'old phrase',
      { authData: legacy, accountData: account() },
      'backup-passphrase',
    ],
    [
      'a storage key without knowing the backup',
      storage.toRecoveryKey(),
      noBackupInfo,
      'secret-storage-key (unchecked)',
    ],
    [
      'a storage key whose description has no MAC',
      storage.toRecoveryKey(),
      {
        authData,
        accountData: account({
          'm.secret_storage.key.main': { algorithm: 'm.secret_storage.v1.aes-hmac-sha2' },
        }),
      },
      'secret-storage-key',
    ],
    [
      'a storage that is not the default',
      storage.toRecoveryKey(),
      { authData, accountData: account({ 'm.secret_storage.default_key': { key: 'other' } }) },
      'secret-storage-key',
    ],
  ])('%s', async (_, given, options, expected) => {
    expect(await outcome(given, options)).toBe(expected);
  });

  test('with the backup key, the storage key and the master key', async () => {
    const result = await unlock(PHRASE, { backend, ...everything });
    if (!result.ok) throw result.error;
    expect(result.key.toBase64()).toBe(backup.toBase64());
    expect(result.storageKey?.toRecoveryKey()).toBe(storage.toRecoveryKey());
    expect(result.masterKey?.signingKey).toEqual(readMasterKey(seed).signingKey);
  });

  test('without a master key where the secret is damaged', async () => {
    const accountData = account({
      'm.cross_signing.master': storage.encryptSecret('m.cross_signing.master', 'x'),
    });
    const result = await unlock(PHRASE, { backend, authData, accountData });
    expect(result).toMatchObject({ ok: true, masterKey: undefined });
  });

  test('the backup key itself, with nothing to flag', async () => {
    expect(await unlock(backup.toRecoveryKey(), everything)).toMatchObject({ ok: true, flags: [] });
  });

  test('a secret with white space around', async () => {
    const accountData = account({
      'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', ` ${backup.toBase64()}\n`),
    });
    expect(await outcome(PHRASE, { authData, accountData })).toBe('security-phrase');
  });

  test('the default storage first, however many there are and whatever else there is', async () => {
    const salts: string[] = [];
    const asking = {
      name: 'asking',
      pbkdf2: (_p: Uint8Array, salt: Uint8Array, _i: number, length: number) => {
        salts.push(new TextDecoder().decode(salt));
        return Promise.resolve(new Uint8Array(length));
      },
    };
    const other = Array.from({ length: 20 }, (_, i) => [`org.example.of.some.length.${i}`, {}]);
    const storages = Array.from({ length: 20 }, (_, i) => [
      `m.secret_storage.key.no${i}`,
      {
        ...SecretStorageKey.generate(`no${i}`).describe(),
        passphrase: { ...passphrase, salt: `salt ${i}` },
      },
    ]);
    for (const standard of [15, 19, 3, 0]) {
      salts.length = 0;
      const accountData = {
        ...Object.fromEntries([...other, ...storages]),
        'm.secret_storage.default_key': { key: `no${standard}` },
      };
      await unlock('a phrase', { authData, accountData, backend: asking });
      const others = Array.from({ length: 20 }, (_, i) => i).filter((i) => i !== standard);
      // Then again with other forms of the phrase.
      expect(salts.slice(0, 20)).toEqual([standard, ...others].map((i) => `salt ${i}`));
    }
  });

  test('a secret stored by an old client, flagged', async () => {
    const secret = [...backup.toBytes()].join(',');
    const accountData = account({
      'm.megolm_backup.v1': storage.encryptSecret('m.megolm_backup.v1', secret),
    });
    const result = await unlock(PHRASE, { backend, authData, accountData });
    expect(result).toMatchObject({ ok: true, flags: ['comma-separated-bytes'] });
  });
});

describe('does not believe a key that it cannot compare', () => {
  const malformed = { public_key: 'A'.repeat(60) };
  const legacyMalformed = { ...legacy, public_key: 'A'.repeat(60) };
  const others = { accountData: account() };
  const letters = 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq';
  const lettersKey = base64Encode(base64Decode(letters, 'phrase'));
  const legacyLetters = base64Encode(pbkdf2Sync(letters, 'salt', 5, 32, 'sha512'));

  test.each<[string, string, UnlockOptions, [string, string][]]>([
    ['a key, nothing known', wrong, {}, [['backup-decryption-key', wrong]]],
    ['the same in base64', lettersKey, {}, [['backup-decryption-key', lettersKey]]],
    [
      'a key beside a malformed auth_data',
      wrong,
      { authData: malformed },
      [['backup-decryption-key', wrong]],
    ],
    ['a key that fails the MAC of the storage', wrong, others, [['backup-decryption-key', wrong]]],
    [
      'a legacy passphrase',
      'old phrase',
      { authData: legacyMalformed },
      [['backup-passphrase', legacyKey.toString('base64')]],
    ],
    [
      'a legacy passphrase that is base64 of 32 bytes too',
      letters,
      { authData: legacyMalformed },
      [
        ['backup-decryption-key', lettersKey],
        ['backup-passphrase', legacyLetters],
      ],
    ],
  ])('%s, and offers it by name', async (_, given, options, offered) => {
    const result = await unlock(given, { backend, ...options });
    if (result.ok) throw new Error('it was believed');
    expect([result.error.code, result.suggestion]).toEqual(['unproven-key', undefined]);
    wellSaid(result.error);
    expect(result.unproven.map(({ by, key }) => [by, key.toBase64()])).toEqual(
      offered.map(([by, text]) => [by, bytesOf(text)]),
    );
  });

  /** As base64, unpadded. */
  function bytesOf(text: string): string {
    return text.startsWith('Es') ? base64Encode(decodeRecoveryKey(text)) : text.replace(/=$/, '');
  }

  test('but offers none where something could be compared', async () => {
    const storageWithout = { accountData: account({ 'm.megolm_backup.v1': {} }) };
    for (const [given, options] of [
      [wrong, everything],
      [wrong, { authData }],
      [letters, everything],
      ['some phrase', others],
      ['old phrase', { authData: { ...legacy, public_key: backup.publicKey.toBase64() } }],
      [storage.toRecoveryKey(), storageWithout],
      [PHRASE, storageWithout],
    ] as const) {
      const result = await unlock(given, { backend, ...options });
      expect(!result.ok && [result.error.code === 'unproven-key', result.unproven]).toEqual([false, []]);
    }
  });

  test('and tries it as a phrase first, where it may be one', async () => {
    const key = storageKey(pbkdf2Sync(letters, SALT, 10, 32, 'sha512'));
    const accountData = {
      'm.secret_storage.key.main': { ...key.describe(), passphrase },
      'm.megolm_backup.v1': key.encryptSecret('m.megolm_backup.v1', backup.toBase64()),
    };
    for (const known of [{}, { authData: malformed }]) {
      const result = await unlock(letters, { backend, accountData, ...known });
      expect(result).toMatchObject({ ok: true, by: 'security-phrase', keyMatches: false });
      expect(result.ok && result.key.toBase64()).toBe(backup.toBase64());
    }
  });

  test('and suggests a proven one that is close to it', async () => {
    const typed = encodeRecoveryKey(decodeRecoveryKey(storage.toRecoveryKey()));
    const near = nearKey(typed.replaceAll(' ', ''));
    const result = await unlock(near, { accountData: account() });
    expect(result).toMatchObject({
      ok: false,
      error: { code: 'unproven-key' },
      suggestion: { by: 'secret-storage-key', text: storage.toRecoveryKey() },
    });
  });

  /** Another key, one character away, that passes the parity as well. */
  function nearKey(text: string): string {
    for (let i = 2; i < 48; i++) {
      for (const symbol of '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz') {
        const typed = text.slice(0, i) + symbol + text.slice(i + 1);
        try {
          if (typed !== text && decodeRecoveryKey(typed).length === 32) return typed;
        } catch {
          // does not pass
        }
      }
    }
    throw new Error('no near key');
  }
});

describe('a storage whose description is malformed', () => {
  const malformed = (change: object = {}) =>
    account({ 'm.secret_storage.key.main': { ...storage.describe(), passphrase, mac: 'AAAA' }, ...change });

  test('opens if a secret proves the key', async () => {
    for (const given of [PHRASE, storage.toRecoveryKey()]) {
      const result = await unlock(given, { backend, authData, accountData: malformed() });
      expect(result).toMatchObject({ ok: true, storageKey: { proven: true } });
    }
  });

  test('is named instead of the key or phrase, if none does', async () => {
    const none = malformed({ 'm.megolm_backup.v1': undefined, 'm.cross_signing.master': undefined });
    for (const given of [PHRASE, storage.toRecoveryKey()]) {
      const result = await unlock(given, { backend, authData, accountData: none });
      expect(result).toMatchObject({ ok: false, error: { code: 'bad-mac-length' } });
      expect(!result.ok && result.error.message).toContain('m.secret_storage.key.main.mac');
    }
  });
});

test('a storage that a phrase of few rounds opened is proven, and not to be written to', async () => {
  const result = await unlock(PHRASE, { backend, ...everything });
  if (!result.ok) throw result.error;
  expect(result.storageKey?.proven).toBe(true);
  expect(() => result.storageKey?.encryptSecret('a', 'b')).toThrow(/at least 100,000 rounds/);
});

describe('keeps no key', () => {
  test.each<[string, string, UnlockOptions]>([
    ['that fits nothing', wrong, everything],
    [
      'of a storage without the backup key',
      storage.toRecoveryKey(),
      { accountData: account({ 'm.megolm_backup.v1': {} }) },
    ],
    [
      'of a storage with another backup’s key',
      PHRASE,
      { ...everything, authData: createAuthData(BackupDecryptionKey.generate().publicKey) },
    ],
    ['of a phrase that it only suggests', ` ${PHRASE}`, everything],
    ['that it only suggests', storage.toRecoveryKey().slice(0, -1), everything],
  ])('%s', async (_, given, options) => {
    const seen = await secretsSeenIn(async () => {
      expect((await unlock(given, { backend, ...options })).ok).toBe(false);
    });
    expect(seen.length).toBeGreaterThan(0);
    expect(areWiped(seen)).toBe(true);
  });

  test('but those that it gives', async () => {
    const seen = await secretsSeenIn(async () => {
      const result = await unlock(PHRASE, { backend, ...everything });
      if (!result.ok) throw result.error;
      result.key.toBytes();
      result.masterKey?.signer('@a:example.org').dispose();
      for (const key of [result.key, result.storageKey, result.masterKey]) key?.dispose();
    });
    expect([seen.length > 3, areWiped(seen)]).toEqual([true, true]);
  });
});

describe('offers what was meant', () => {
  const right = storage.toRecoveryKey().replaceAll(' ', '');
  const replaceAt = (i: number, by: string) => right.slice(0, i) + by + right.slice(i + 1);
  const swapAt = (i: number) => right.slice(0, i) + right[i + 1] + right[i] + right.slice(i + 2);
  const swappable = Array.from(right).findIndex((symbol, i) => i > 3 && symbol !== right[i + 1]);
  test.each<[string, string, string]>([
    [
      'another letter',
      replaceAt(20, right[20] === 'A' ? 'B' : 'A'),
      'bad-recovery-key parity; secret-storage-key by substitution',
    ],
    ['the first letter', replaceAt(0, 'F'), 'bad-recovery-key prefix; secret-storage-key by substitution'],
    [
      'a zero, which the alphabet has not',
      replaceAt(30, '0'),
      'bad-recovery-key alphabet; secret-storage-key by substitution',
    ],
    [
      'two letters that the alphabet has not',
      replaceAt(30, '0').slice(0, 40) + 'l' + right.slice(41),
      'bad-recovery-key alphabet; secret-storage-key by substitution',
    ],
    ['an emoji', replaceAt(47, '€'), 'bad-recovery-key alphabet; secret-storage-key by substitution'],
    ['a letter too few', replaceAt(25, ''), 'bad-recovery-key prefix; secret-storage-key by omission'],
    [
      'the last letter missing',
      right.slice(0, -1),
      'bad-recovery-key prefix; secret-storage-key by omission',
    ],
    [
      'a letter too many',
      replaceAt(25, `x${right[25]}`),
      'bad-recovery-key length; secret-storage-key by insertion',
    ],
    ['a foreign letter too many', `${right}0`, 'bad-recovery-key alphabet; secret-storage-key by insertion'],
  ])('%s', async (_, given, expected) => {
    expect(await outcome(given, everything)).toBe(expected);
  });

  test('two neighbours swapped', async () => {
    expect(await outcome(swapAt(swappable), everything)).toMatch(
      /^bad-recovery-key (parity|prefix|length); secret-storage-key by (swap)$/,
    );
  });

  test('a mistake that the parity lets pass', async () => {
    const bytes = decodeRecoveryKey(right);
    // Two symbols apart by the same bits: their parity is the same.
    const passing = (() => {
      for (let i = 2; i < 48; i++) {
        for (const symbol of '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz') {
          try {
            const typed = replaceAt(i, symbol);
            if (typed !== right && decodeRecoveryKey(typed).length === bytes.length) return typed;
          } catch {
            // does not pass
          }
        }
      }
      return undefined;
    })();
    // 46 × 57 substitutions, one in 256 of which passes: having none would be a miracle.
    expect(await outcome(passing!, everything)).toBe('wrong-key; secret-storage-key by substitution');
  });

  test('the backup’s own key by its public key', async () => {
    const typed = backup.toRecoveryKey().replaceAll(' ', '');
    expect(await outcome(typed.slice(0, -1), { authData })).toBe(
      'bad-recovery-key prefix; backup-decryption-key by omission',
    );
  });

  test('as the key itself, to be asked about', async () => {
    const result = await unlock(right.slice(0, -1), everything);
    expect(!result.ok && result.suggestion?.text).toBe(encodeRecoveryKey(decodeRecoveryKey(right)));
  });

  test.each<[string, string, string]>([
    ['a decomposed phrase', PHRASE.normalize('NFD'), 'wrong-passphrase; security-phrase by NFC'],
    ['spaces around it', ` ${PHRASE}\n`, 'wrong-passphrase; security-phrase by outer-space'],
    ['full-width letters', PHRASE.replace('c', 'ｃ'), 'wrong-passphrase; security-phrase by NFKC'],
  ])('%s', async (_, given, expected) => {
    expect(await outcome(given, everything)).toBe(expected);
  });

  test.each<[string, string]>([
    ['with dashes', 'en'],
    ['over twelve lines', '\n'],
    ['with no-break spaces', '\u00a0'],
    ['with zero-width spaces', '\u200b'],
  ])('nothing where the key is whole, %s', async (_, separator) => {
    const pasted = storage.toRecoveryKey().replaceAll(' ', separator === 'en' ? '–' : separator);
    expect(await outcome(pasted, everything)).toBe('secret-storage-key');
    expect(await outcome(`Recovery key: "${pasted}"`, everything)).toBe('secret-storage-key');
    expect(await outcome(`It is ${pasted}, I think`, everything)).toBe('secret-storage-key');
    const short = pasted.slice(0, -1);
    expect(await outcome(short, everything)).toMatch(/; secret-storage-key by omission$/);
  });

  test('nothing for a key in capitals, but says that these differ', async () => {
    for (const given of [right.toUpperCase(), storage.toRecoveryKey().toLowerCase().replaceAll(' ', '-')]) {
      const result = await unlock(given, { backend, ...everything });
      expect(!result.ok && result.error).toMatchObject({
        code: 'bad-recovery-key',
        message: expect.stringMatching(
          /expected capital and small letters, which differ in a key, got (capitals|small letters) only$/,
        ) as string,
      });
    }
  });

  test.each<[string, string, string, string]>([
    ['precomposed as it was typed', PHRASE.normalize('NFD'), PHRASE, 'NFD'],
    ['with a line end from a file', 'a phrase\n', 'a phrase', 'line-end'],
    ['with a space at its end', 'a phrase ', 'a phrase', 'space-behind'],
    ['with typographic signs', 'it\u2019s \u201ca\u201d phrase', 'it\'s "a" phrase', 'typographic-signs'],
    ['with plain signs', 'it\'s "a" phrase', 'it\u2019s \u201ca\u201d phrase', 'plain-signs'],
    ['with a small first letter', 'a phrase', 'A phrase ', 'first-letter'],
    ['with Caps Lock', 'A pHRASE', 'a Phrase', 'caps-lock'],
    ['with no-break spaces', 'a\u00a0phrase', 'a phrase', 'no-break-space'],
  ])('a phrase that was set %s', async (_, made, typed, form) => {
    const key = storageKey(pbkdf2Sync(made, SALT, 10, 32, 'sha512'));
    const accountData = {
      'm.secret_storage.key.main': { ...key.describe(), passphrase },
      'm.megolm_backup.v1': key.encryptSecret('m.megolm_backup.v1', backup.toBase64()),
    };
    expect(await outcome(typed, { authData, accountData })).toBe(
      `wrong-passphrase; security-phrase by ${form}`,
    );
    const old = createAuthData(
      BackupDecryptionKey.fromBytes(Uint8Array.from(pbkdf2Sync(made, 'salt', 5, 32, 'sha512'))).publicKey,
      { private_key_salt: 'salt', private_key_iterations: 5 },
    );
    expect(await outcome(typed, { authData: old })).toBe(`wrong-passphrase; backup-passphrase by ${form}`);
  });

  test('the passphrase of a legacy backup, with a space after it', async () => {
    expect(await outcome('old phrase ', { authData: legacy })).toBe(
      'wrong-passphrase; backup-passphrase by outer-space',
    );
  });
});

test('base64 that is also a phrase is tried as both', async () => {
  const phrase = 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq';
  expect(base64Decode(phrase, 'phrase')).toHaveLength(32);
  const bytes = pbkdf2Sync(phrase, SALT, 10, 32, 'sha512');
  const key = storageKey(bytes);
  const accountData = {
    'm.secret_storage.key.main': { ...key.describe(), passphrase },
    'm.megolm_backup.v1': key.encryptSecret('m.megolm_backup.v1', backup.toBase64()),
  };
  expect(await outcome(phrase, { authData, accountData })).toBe('security-phrase');
});
