import { pbkdf2Sync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { BackupDecryptionKey, createAuthData, SecretStorageKey, unlock } from '../../src/index.js';
import { accountDataOf, secretStorageState } from '../../src/secret-storage/key-description.js';
import { refusal } from '../support/samples.js';

const backend = nodeBackend();
const backup = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x5a));
const authData = createAuthData(backup.publicKey);
const passphrase = { algorithm: 'm.pbkdf2', salt: 'salt', iterations: 10 };
const bytes = Uint8Array.from(pbkdf2Sync('a phrase', 'salt', 10, 32, 'sha512'));
const wrong = BackupDecryptionKey.fromBytes(new Uint8Array(32).fill(0x77)).toRecoveryKey();
const KEY = 'm.secret_storage.key.k';

function storageOf(id: string, secret = bytes): SecretStorageKey {
  const key = SecretStorageKey.fromBytes(secret, id);
  key.check(key.describe({ allowUnproven: true }));
  return key;
}

const storage = storageOf('k');
const right = storage.describe();
const secret = storage.encryptSecret('m.megolm_backup.v1', backup.toBase64());
const account = (description: unknown) => ({
  'm.secret_storage.default_key': { key: 'k' },
  'm.megolm_backup.v1': secret,
  ...(description !== undefined && { [KEY]: description }),
});

/** Descriptions that tell nothing, or something wrong, about the key. */
const DESCRIPTIONS: readonly (readonly [string, object | null | undefined])[] = [
  ['missing', undefined],
  ['null', null],
  ['empty', {}],
  ['without an algorithm', { ...right, algorithm: undefined, mac: undefined, passphrase }],
  ['with another algorithm', { ...right, algorithm: 'm.other', passphrase }],
  [
    'with the MAC of another key',
    { ...right, mac: SecretStorageKey.generate('k').describe().mac, passphrase },
  ],
  ['with a malformed MAC', { ...right, mac: 'AAAA', passphrase }],
  ['with a malformed iv', { ...right, iv: '*', passphrase }],
];

describe.each(DESCRIPTIONS)('where the description of the storage key is %s', (_, description) => {
  const accountData = account(description);

  it('proves no other key, and lets none write', async () => {
    expect(await unlock(wrong, { authData, accountData })).toMatchObject({ ok: false, unproven: [] });
    expect(await unlock('another phrase', { authData, accountData, backend })).toMatchObject({ ok: false });
    let key: SecretStorageKey | undefined;
    try {
      key = SecretStorageKey.fromRecoveryKey(wrong, accountData, 'k');
    } catch {
      return;
    }
    expect(key.proven).toBe(false);
    expect(refusal(() => key.encryptSecret('x', 'y')).code).toBe('unproven-key');
  });

  it('proves the key by the MAC of the secret', async () => {
    const text = storage.toRecoveryKey();
    const result = await unlock(text, { authData, accountData });
    expect(result).toMatchObject({ ok: true, by: 'secret-storage-key', keyMatches: true });
    expect(result.ok && result.storageKey?.proven).toBe(true);
    expect(SecretStorageKey.fromRecoveryKey(text, accountData, 'k').proven).toBe(true);
  });

  it('proves the phrase by it, if it says how the key is derived', async () => {
    const result = await unlock('a phrase', { authData, accountData, backend });
    expect(result.ok).toBe(Object.hasOwn(description ?? {}, 'passphrase'));
    if (result.ok) expect(result.by).toBe('security-phrase');
  });
});

describe('among many storage keys', () => {
  const many = (count: number, fields: (i: number) => object) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `m.secret_storage.key.no${i}`,
        { ...SecretStorageKey.generate(`no${i}`).describe(), ...fields(i) },
      ]),
    );

  it('finds the one that the secret lies under, and opens with the one that holds the key of this backup', async () => {
    const accountData = { ...many(40, () => ({})), ...account(right) };
    expect(await unlock(storage.toRecoveryKey(), { authData, accountData })).toMatchObject({ ok: true });
    const stale = storageOf('stale').encryptSecret(
      'm.megolm_backup.v1',
      BackupDecryptionKey.generate().toBase64(),
    );
    const both = { ...stale.encrypted, ...secret.encrypted };
    const two = {
      ...account(right),
      'm.secret_storage.key.stale': right,
      'm.megolm_backup.v1': { encrypted: both },
    };
    expect(await unlock(storage.toRecoveryKey(), { authData, accountData: two })).toMatchObject({ ok: true });
  });

  it('derives a phrase once for all keys of one salt, first for those that hold the backup key', async () => {
    const salts: string[] = [];
    const counting = {
      name: 'counting',
      pbkdf2: (_p: Uint8Array, salt: Uint8Array, _i: number, length: number) => {
        salts.push(new TextDecoder().decode(salt));
        return Promise.resolve(new Uint8Array(length));
      },
    };
    const same = many(20, (i) => ({ passphrase: { ...passphrase, salt: i % 2 ? 'odd' : 'even' } }));
    const accountData = {
      ...same,
      ...account({ ...right, passphrase }),
      'm.secret_storage.default_key': { key: 'no1' },
    };
    const result = await unlock('a phrase', { authData, accountData, backend: counting });
    // Then the same again with other forms of the phrase.
    expect(salts.slice(0, 3)).toEqual(['salt', 'odd', 'even']);
    expect(salts.filter((salt) => salt === 'odd')).toHaveLength(salts.length / 3);
    expect(!result.ok && result.tried).toHaveLength(3);
  });
});

describe('the reason why a key fits nothing is true', () => {
  it.each<[string, object | undefined, string, RegExp]>([
    ['no account data was given', undefined, 'unknown', /only the account data tells$/],
    ['the account has no secret storage', {}, 'none', /this account has no secret storage$/],
    [
      'the secret storage holds no backup key',
      { [KEY]: right },
      'no-backup-key',
      /the secret storage of this account holds no backup key$/,
    ],
    ['the secret storage holds one', account(right), 'backup-key', /got one that fits neither$/],
  ])('where %s', async (_, accountData, state, reason) => {
    expect(secretStorageState(accountData as never)).toBe(state);
    const result = await unlock(wrong, { authData, accountData: accountData as never });
    expect(!result.ok && result.error).toMatchObject({
      code: 'wrong-key',
      message: expect.stringMatching(reason),
    });
  });

  it('where a phrase could be compared with nothing', async () => {
    const accountData = { [KEY]: { algorithm: right.algorithm, passphrase } };
    const result = await unlock('a phrase', { authData, accountData, backend });
    expect(!result.ok && result.error).toMatchObject({
      ...{
        code: 'missing-field',
        message: expect.stringMatching(/a MAC or a secret to compare the key with/),
      },
    });
  });

  it('where a phrase was given without account data', async () => {
    const result = await unlock('a phrase', { authData });
    expect(!result.ok && result.error.message).toMatch(/only the account data tells/);
  });
});

describe('account data', () => {
  const data = account(right);
  const events = Object.entries(data).map(([type, content]) => ({ type, content }));

  it.each<[string, unknown]>([
    ['contents by event type', data],
    ['a list of events', events],
    ['the answer of /sync', { next_batch: 's1', account_data: { events }, rooms: { join: {} } }],
    ['the account data of such an answer', { events }],
    ['the answer of the admin API', { account_data: { global: data, rooms: { '!a:b': { 'm.tag': {} } } } }],
    ['the global part of that', { global: data, rooms: {} }],
  ])('is read as %s', async (_, value) => {
    expect(accountDataOf(value)).toEqual(data);
    expect(
      await unlock(storage.toRecoveryKey(), { authData, accountData: accountDataOf(value) }),
    ).toMatchObject({
      ok: true,
    });
  });

  it('is read as the one event that holds the secret', async () => {
    const accountData = accountDataOf({ type: 'm.megolm_backup.v1', content: secret, sender: 'x' });
    expect(await unlock(storage.toRecoveryKey(), { authData, accountData })).toMatchObject({ ok: true });
  });

  it.each([
    null,
    undefined,
    5,
    'text',
    [],
    [5, null, {}, { type: 5, content: {} }],
    {},
    { rooms: {} },
    { account_data: 5 },
    { events: {} },
  ])('%j holds no secret storage', (value) => {
    expect(secretStorageState(accountDataOf(value))).toBe('none');
  });

  it('takes nothing from a prototype, and every name as it is', () => {
    const inherited = accountDataOf(JSON.parse('[{"type":"__proto__","content":{"m.megolm_backup.v1":{}}}]'));
    expect(Object.keys(inherited)).toEqual(['__proto__']);
    expect(inherited['m.megolm_backup.v1']).toBeUndefined();
  });
});
