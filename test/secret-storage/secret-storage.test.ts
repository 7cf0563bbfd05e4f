import { createCipheriv, createHmac, hkdfSync, pbkdf2Sync, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeBackend } from '../../src/backends/node.js';
import { verifyAuthData, createAuthData, signAuthData } from '../../src/scheme/auth-data.js';
import { BACKUP_MAC_SECRET, BackupMacKey } from '../../src/scheme/backup-mac.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import { encodeRecoveryKey } from '../../src/scheme/recovery-key.js';
import { BACKUP_SECRET, MASTER_KEY_SECRET } from '../../src/secret-storage/key-description.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { anyCharacter, refusal, rejection, wellSaid } from '../support/samples.js';

const padded = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const unpadded = (bytes: Uint8Array) => padded(bytes).replace(/=+$/, '');

/** Secret storage by other means than the engine's. */
function seal(key: Uint8Array, name: string, plaintext: Uint8Array, iv: Uint8Array = randomBytes(16)) {
  const keys = Buffer.from(hkdfSync('sha256', key, Buffer.alloc(32), name, 64));
  const cipher = createCipheriv('aes-256-ctr', keys.subarray(0, 32), iv);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  const mac = createHmac('sha256', keys.subarray(32)).update(ciphertext).digest();
  return { iv: unpadded(iv), ciphertext: unpadded(ciphertext), mac: unpadded(mac) };
}

const ALGORITHM = 'm.secret_storage.v1.aes-hmac-sha2';

/** nheko writes an iv of 32 bytes, of which OpenSSL takes the first 16. */
function nhekoOf(key: Uint8Array) {
  const iv = randomBytes(32);
  const { mac } = seal(key, '', Buffer.alloc(32), iv.subarray(0, 16));
  return { algorithm: ALGORITHM, iv: padded(iv), mac };
}

function paddedOf(key: Uint8Array) {
  const iv = randomBytes(16);
  return { iv: padded(iv), mac: `${seal(key, '', Buffer.alloc(32), iv).mac}=` };
}

function descriptionOf(key: Uint8Array, extra: object = {}) {
  const { iv, mac } = seal(key, '', Buffer.alloc(32));
  return { algorithm: ALGORITHM, iv, mac, ...extra };
}

/** The same text with another first symbol. */
const otherwise = (text: string) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1);

const bytes = randomBytes(32);
const text = encodeRecoveryKey(bytes);

function accountWith(description: unknown) {
  return { 'm.secret_storage.default_key': { key: 'k' }, 'm.secret_storage.key.k': description };
}

function code(run: () => unknown): string {
  try {
    run();
    return 'accepted';
  } catch (error) {
    return wellSaid(error).code;
  }
}

describe('opening refuses', () => {
  test.each<[string, object, string]>([
    ['an account without secret storage', {}, 'missing-field'],
    ['a default key that is text', { 'm.secret_storage.default_key': 'k' }, 'bad-json'],
    ['a default key of another type', { 'm.secret_storage.default_key': { key: 5 } }, 'bad-json'],
    ['a default key without description', { 'm.secret_storage.default_key': { key: 'k' } }, 'missing-field'],
    ['a description that was deleted', accountWith({}), 'missing-field'],
    ['a description that is null', accountWith(null), 'bad-json'],
    [
      'another algorithm',
      accountWith(descriptionOf(bytes, { algorithm: 'm.secret_storage.v2' })),
      'unsupported-algorithm',
    ],
    ['no algorithm', accountWith(descriptionOf(bytes, { algorithm: undefined })), 'missing-field'],
    ['another key', accountWith(descriptionOf(randomBytes(32))), 'wrong-key'],
    ['a changed MAC', accountWith(descriptionOf(bytes, { mac: unpadded(Buffer.alloc(32)) })), 'wrong-key'],
    [
      'a name of the prototype as key id',
      { 'm.secret_storage.default_key': { key: '__proto__' } },
      'missing-field',
    ],
  ])('%s', (_, accountData, expected) => {
    expect(code(() => SecretStorageKey.fromRecoveryKey(text, accountData as never))).toBe(expected);
  });

  test('another key, which it calls a key', () => {
    const error = refusal(() =>
      SecretStorageKey.fromRecoveryKey(text, accountWith(descriptionOf(randomBytes(32)))),
    );
    expect(error.message).toBe('secret storage: expected the key that fits its MAC, got another');
  });

  test('a description that is not there, and one that was deleted, in the same words', () => {
    for (const accountData of [accountWith({}), { 'm.secret_storage.default_key': { key: 'k' } }]) {
      const error = refusal(() => SecretStorageKey.fromRecoveryKey(text, accountData));
      expect(error.message).toBe('m.secret_storage.key.k: expected the description of a key, got nothing');
    }
  });

  test.each([undefined, new Uint8Array(31), new Uint8Array(33)])('%s as bytes of a key', (wrong) => {
    expect(code(() => SecretStorageKey.fromBytes(wrong as never, 'k'))).toBe('bad-length');
  });

  test('a mistyped key, before anything else', () => {
    expect(
      code(() => SecretStorageKey.fromRecoveryKey(text.slice(1), accountWith(descriptionOf(bytes)))),
    ).toBe('bad-recovery-key');
  });
});

describe('a description without an iv or a mac', () => {
  test.each<[string, object]>([
    ['no iv', { iv: undefined }],
    ['no mac', { mac: undefined }],
    ['neither', { iv: undefined, mac: undefined }],
  ])('leaves the key unchecked and readable, not proven: %s', (_, change) => {
    const description = descriptionOf(bytes, change) as never;
    expect(SecretStorageKey.fromBytes(bytes, 'k').check(description)).toBe('unchecked');
    expect(SecretStorageKey.fromRecoveryKey(text, accountWith(description)).proven).toBe(false);
  });

  test.each([BACKUP_SECRET, MASTER_KEY_SECRET, ...Object.values(BACKUP_MAC_SECRET)])(
    'leaves it to a stored %s to prove the key',
    (name) => {
      const account = accountWith({ algorithm: ALGORITHM });
      const open = (secret: object) =>
        SecretStorageKey.fromRecoveryKey(text, { ...account, [name]: { encrypted: secret } });
      expect(open({ k: seal(bytes, name, Buffer.from('x')) }).proven).toBe(true);
      expect(open({ k: seal(randomBytes(32), name, Buffer.from('x')) }).proven).toBe(false);
      expect(open({ k: seal(bytes, 'another name', Buffer.from('x')) }).proven).toBe(false);
      expect(open({ other: seal(bytes, name, Buffer.from('x')) }).proven).toBe(false);
    },
  );
});

describe('a description with a malformed iv or mac', () => {
  test.each<[string, object, string, string]>([
    ['an iv of 12 bytes', { iv: unpadded(Buffer.alloc(12)) }, 'bad-length', 'iv: expected 16 bytes, got 12'],
    ['an iv of 12 bytes alone', { iv: unpadded(Buffer.alloc(12)), mac: undefined }, 'bad-length', 'iv'],
    ['an iv of 33 bytes', { iv: unpadded(Buffer.alloc(33)) }, 'bad-length', 'iv: expected 16 bytes, got 33'],
    ['no iv at all in it', { iv: '' }, 'bad-length', 'iv: expected 16 bytes, got 0'],
    ['an iv that is null', { iv: null }, 'bad-json', 'iv'],
    [
      'a mac of 8 bytes',
      { mac: unpadded(Buffer.alloc(8)) },
      'bad-mac-length',
      'mac: expected 32 bytes, got 8',
    ],
    ['a mac of 8 bytes alone', { mac: 'AAAAAAAAAAA', iv: undefined }, 'bad-mac-length', 'mac'],
    ['a mac that is a number', { mac: 5 }, 'bad-json', 'mac'],
    ['a mac that is null', { mac: null }, 'bad-json', 'mac'],
    ['a mac that is not base64', { mac: '???' }, 'bad-base64', 'mac'],
  ])('fits no key, and opening names the field: %s', async (_, change, expected, field) => {
    const passphrase = { algorithm: 'm.pbkdf2', salt: 's', iterations: 1 };
    const description = descriptionOf(bytes, { ...change, passphrase }) as never;
    const key = SecretStorageKey.fromBytes(bytes, 'k');
    expect(key.check(description)).toBe('wrong');
    expect(key.proven).toBe(false);
    const account = accountWith(description);
    for (const error of [
      refusal(() => SecretStorageKey.fromRecoveryKey(text, account)),
      await rejection(SecretStorageKey.fromPassphrase('phrase', account)),
    ]) {
      expect(error.code).toBe(expected);
      expect(error.message).toContain(`m.secret_storage.key.k.${field}`);
    }
  });
});

describe('a description with a well-formed MAC', () => {
  test.each<[string, object]>([
    ['unpadded', descriptionOf(bytes)],
    ['padded', { algorithm: ALGORITHM, ...paddedOf(bytes) }],
    ['with an iv of 32 bytes, as nheko writes it', nhekoOf(bytes)],
  ])('tells a right key from a wrong one: %s', (_, description) => {
    const right = SecretStorageKey.fromBytes(bytes, 'k');
    const wrong = SecretStorageKey.fromBytes(randomBytes(32), 'k');
    expect([right.proven, wrong.proven]).toEqual([false, false]);
    expect(right.check(description as never)).toBe('right');
    expect(wrong.check(description as never)).toBe('wrong');
    expect([right.proven, wrong.proven]).toEqual([true, false]);
    expect(SecretStorageKey.fromRecoveryKey(text, accountWith(description)).proven).toBe(true);
  });
});

describe('writing', () => {
  const unchecked = () => SecretStorageKey.fromRecoveryKey(text, accountWith({ algorithm: ALGORITHM }));
  const derived = (iterations: number) => SecretStorageKey.fromBytes(bytes, 'k', iterations);
  const proved = (key: SecretStorageKey) => {
    expect(key.check(descriptionOf(bytes) as never)).toBe('right');
    return key;
  };
  const anyway = { allowUnproven: true };

  test.each<[string, () => SecretStorageKey, object, string]>([
    ['with bytes', () => SecretStorageKey.fromBytes(bytes, 'k'), {}, 'unproven-key'],
    ['with a key that the description leaves unchecked', unchecked, {}, 'unproven-key'],
    ['with one not allowed by name', unchecked, { allowUnproven: false }, 'unproven-key'],
    ['with a phrase', () => derived(500_000), {}, 'unproven-key'],
    ['with a phrase, even if the caller allows it', () => derived(500_000), anyway, 'unproven-key'],
    ['with a phrase of few rounds', () => derived(99_999), anyway, 'bad-parameters'],
    ['with a proven phrase of few rounds', () => proved(derived(99_999)), anyway, 'bad-parameters'],
    ['with a disposed key', disposedKey, {}, 'bad-parameters'],
  ])('is refused %s', (_, make, options, expected) => {
    const key = make();
    expect(code(() => key.encryptSecret('a', 'b', options))).toBe(expected);
    expect(code(() => key.describe(options))).toBe(expected);
  });

  test.each<[string, () => SecretStorageKey, object]>([
    ['a new key', () => SecretStorageKey.generate('k'), {}],
    ['an unchecked key, if the caller says so', unchecked, anyway],
    ['a key that fitted a MAC', () => proved(unchecked()), {}],
    ['a key that decrypted a secret', () => opening(unchecked()), {}],
    ['a phrase of 100,000 rounds that fitted a MAC', () => proved(derived(100_000)), {}],
    ['a phrase of 100,000 rounds that decrypted a secret', () => opening(derived(100_000)), {}],
  ])('is allowed with %s', (_, make, options) => {
    const key = make();
    expect(key.decryptSecret('a', key.encryptSecret('a', 'b', options))).toBe('b');
    expect(key.check(key.describe(options))).toBe('right');
  });

  test('a phrase keeps the rounds that the description named', async () => {
    const opened = async (iterations: number, extra: object = {}) => {
      const key = pbkdf2Sync('phrase', 's', iterations, 32, 'sha512');
      const passphrase = { algorithm: 'm.pbkdf2', salt: 's', iterations };
      const account = accountWith(descriptionOf(key, { passphrase, ...extra }));
      return SecretStorageKey.fromPassphrase('phrase', account, { backend: nodeBackend() });
    };
    const few = await opened(99_999);
    expect(few.proven).toBe(true);
    expect(code(() => few.encryptSecret('a', 'b'))).toBe('bad-parameters');
    const enough = await opened(100_000);
    expect(code(() => enough.encryptSecret('a', 'b'))).toBe('accepted');
    const without = await opened(100_000, { mac: undefined });
    expect(without.proven).toBe(false);
    expect(code(() => without.encryptSecret('a', 'b', anyway))).toBe('unproven-key');
  });

  test('pads its base64, which some readers compare as text', () => {
    const key = SecretStorageKey.generate('k');
    const { k } = key.encryptSecret('a', 'a secret').encrypted;
    const { iv, mac } = key.describe();
    for (const value of [k.iv, k.ciphertext, k.mac, iv!, mac!]) {
      expect(value).toBe(padded(Buffer.from(value, 'base64')));
      expect(value).toMatch(/=$/);
    }
  });

  test.each([0, -1, 1.5, 10_000_001, '7', null])('%j rounds are refused', (iterations) => {
    expect(code(() => SecretStorageKey.fromBytes(bytes, 'k', iterations as never))).toBe('bad-parameters');
  });
});

function disposedKey(): SecretStorageKey {
  const key = SecretStorageKey.generate('k');
  key.dispose();
  return key;
}

/** The key, after it has decrypted a secret. */
function opening(key: SecretStorageKey): SecretStorageKey {
  key.decryptSecret('a', { encrypted: { k: seal(bytes, 'a', Buffer.from('b')) } });
  return key;
}

describe('a security phrase', () => {
  const passphrase = { algorithm: 'm.pbkdf2', salt: 'sälz', iterations: 7, bits: 256 };
  const derived = pbkdf2Sync('right', 'sälz', 7, 32, 'sha512');
  const open = (phrase: string, change: object = {}) =>
    SecretStorageKey.fromPassphrase(
      phrase,
      accountWith(descriptionOf(derived, { passphrase: { ...passphrase, ...change } })),
    );

  test.each<[string, object, string]>([
    ['0 rounds', { iterations: 0 }, 'bad-parameters'],
    ['10,000,001 rounds', { iterations: 10_000_001 }, 'bad-parameters'],
    ['rounds as text', { iterations: '7' }, 'bad-parameters'],
    ['no rounds', { iterations: undefined }, 'bad-parameters'],
    ['512 bits', { bits: 512 }, 'bad-parameters'],
    ['bits as text', { bits: '256' }, 'bad-parameters'],
    ['a salt that is a number', { salt: 5 }, 'bad-json'],
    ['no salt', { salt: undefined }, 'missing-field'],
    ['another algorithm', { algorithm: 'm.scrypt' }, 'unsupported-algorithm'],
  ])('refuses %s', async (_, change, expected) => {
    expect((await rejection(open('right', change))).code).toBe(expected);
  });

  test('in another form is taken when asked to, and told', async () => {
    const told: string[] = [];
    const onOtherForm = (form: string) => told.push(form);
    const key = await SecretStorageKey.fromPassphrase(
      'Right ',
      accountWith(descriptionOf(derived, { passphrase })),
      { onOtherForm },
    );
    expect([key.proven, told]).toEqual([true, ['first-letter']]);
    expect((await rejection(open('Right '))).code).toBe('wrong-passphrase');
  });

  test('refuses another phrase, and a key without a phrase', async () => {
    expect(await rejection(open('wrong'))).toMatchObject({
      code: 'wrong-passphrase',
      message: 'secret storage: expected the passphrase that fits its MAC, got another',
    });
    const without = SecretStorageKey.fromPassphrase('right', accountWith(descriptionOf(derived)));
    expect((await rejection(without)).code).toBe('missing-field');
  });

  test.each([undefined, null, 5])('refuses %s as a phrase', async (phrase) => {
    expect((await rejection(open(phrase as never))).code).toBe('bad-parameters');
  });

  test('rejects anything but text', async () => {
    for (const phrase of [5, null, undefined, ['right']])
      await expect(open(phrase as never)).rejects.toMatchObject({ code: 'bad-parameters' });
  });

  test('opens with the right one, bits given or not', async () => {
    expect((await open('right')).toRecoveryKey()).toBe(encodeRecoveryKey(derived));
    expect((await open('right', { bits: undefined })).id).toBe('k');
  });
});

describe('a secret', () => {
  const name = 'm.megolm_backup.v1';
  const key = SecretStorageKey.fromBytes(bytes, 'k');
  const stored = seal(bytes, name, Buffer.from('the secret'));
  const content = (change: object = {}) => ({ encrypted: { k: { ...stored, ...change } } });

  test.each<[string, unknown, string]>([
    ['is not there', undefined, 'missing-field'],
    ['was deleted', {}, 'missing-field'],
    ['is null', null, 'bad-json'],
    ['holds a list', { encrypted: [] }, 'bad-json'],
    ['is stored under another key only', { encrypted: { other: stored } }, 'missing-field'],
    ['has no mac', content({ mac: undefined }), 'missing-field'],
    ['has no iv', content({ iv: undefined }), 'missing-field'],
    ['has no ciphertext', content({ ciphertext: undefined }), 'missing-field'],
    ['has a short mac', content({ mac: stored.mac.slice(0, 11) }), 'bad-mac-length'],
    ['has a short iv', content({ iv: stored.iv.slice(0, 16) }), 'bad-length'],
    ['is no base64', content({ ciphertext: '-' }), 'bad-base64'],
    ['has no base64 as mac', content({ mac: '-' }), 'bad-base64'],
    ['has no base64 as iv', content({ iv: '-' }), 'bad-base64'],
    ['has a number as ciphertext', content({ ciphertext: 5 }), 'bad-json'],
    ['is huge', content({ ciphertext: 'A'.repeat(100_000) }), 'too-large'],
    ['was changed', content({ ciphertext: otherwise(stored.ciphertext) }), 'mac-mismatch'],
    [
      'is of another name',
      { encrypted: { k: seal(bytes, 'm.cross_signing.master', Buffer.from('x')) } },
      'mac-mismatch',
    ],
    [
      'is of another key',
      { encrypted: { k: seal(randomBytes(32), name, Buffer.from('x')) } },
      'mac-mismatch',
    ],
    ['is no UTF-8', { encrypted: { k: seal(bytes, name, Buffer.of(0xff)) } }, 'bad-utf8'],
  ])('that %s is refused', (_, value, expected) => {
    expect(code(() => key.decryptSecret(name, value))).toBe(expected);
  });

  test('is read, with padding, with an IV whose counter overflows, and empty', () => {
    expect(key.decryptSecret(name, content())).toBe('the secret');
    expect(key.decryptSecret(name, content({ mac: `${stored.mac}=`, iv: `${stored.iv}==` }))).toBe(
      'the secret',
    );
    const overflowing = seal(
      bytes,
      name,
      Buffer.from('longer than a block of sixteen'),
      Buffer.alloc(16, 0xff),
    );
    expect(key.decryptSecret(name, { encrypted: { k: overflowing } })).toBe('longer than a block of sixteen');
    expect(key.decryptSecret(name, { encrypted: { k: seal(bytes, name, Buffer.alloc(0)) } })).toBe('');
  });

  test('is read up to 64 KiB of base64, and not a character more', () => {
    const longest = Buffer.alloc(49_152, 0x61);
    const secret = seal(bytes, name, longest);
    expect(secret.ciphertext).toHaveLength(65_536);
    expect(key.decryptSecret(name, { encrypted: { k: secret } })).toHaveLength(49_152);
    const longer = content({ ciphertext: `${secret.ciphertext}A` });
    expect(code(() => key.decryptSecret(name, longer))).toBe('too-large');
  });

  test('has the name that others look for', () => {
    expect([BACKUP_SECRET, MASTER_KEY_SECRET]).toEqual(['m.megolm_backup.v1', 'm.cross_signing.master']);
  });

  test('comes back as it was written, and others read it', () => {
    fc.assert(
      fc.property(fc.string({ unit: anyCharacter }), fc.string(), fc.string(), (secret, as, id) => {
        const storage = SecretStorageKey.fromBytes(bytes, id);
        const written = storage.encryptSecret(as, secret, { allowUnproven: true });
        expect(storage.decryptSecret(as, written)).toBe(secret);
        const iv = Buffer.from(written.encrypted[id].iv, 'base64');
        expect(iv[8] & 0x80).toBe(0);
        const sealed = Object.entries(seal(bytes, as, Buffer.from(secret), iv));
        expect(written.encrypted[id]).toEqual(
          Object.fromEntries(sealed.map(([name, value]) => [name, padded(Buffer.from(value, 'base64'))])),
        );
      }),
      { numRuns: 40, examples: [['x', 'y', '__proto__']] },
    );
  });

  test('is not found under a name of the prototype', () => {
    const odd = SecretStorageKey.fromBytes(bytes, 'constructor');
    expect(code(() => odd.decryptSecret(name, { encrypted: {} }))).toBe('missing-field');
  });

  test('is never encrypted twice with the same IV, nor described', () => {
    expect(key.decryptSecret(name, content())).toBe('the secret');
    const ivs = Array.from({ length: 8 }, () => [
      key.encryptSecret(name, 'x').encrypted.k.iv,
      key.describe().iv,
    ]);
    expect(new Set(ivs.flat()).size).toBe(16);
  });

  test('never shows in a message', () => {
    expect(() => key.decryptSecret(name, content({ mac: unpadded(Buffer.alloc(32)) }))).toThrow(
      /^(?!.*the secret)/,
    );
  });
});

test('a new key is another one each time', () => {
  const texts = Array.from({ length: 8 }, () => SecretStorageKey.generate('k').toRecoveryKey());
  expect(new Set(texts).size).toBe(8);
});

test('the bytes of a key are 32, and copied', () => {
  for (const length of [0, 16, 31, 33])
    expect(code(() => SecretStorageKey.fromBytes(new Uint8Array(length), 'k'))).toBe('bad-length');
  const own = Uint8Array.from(bytes);
  const key = SecretStorageKey.fromBytes(own, 'k');
  own.fill(0);
  expect(key.toRecoveryKey()).toBe(text);
  key.dispose();
  const others = Uint8Array.from(bytes);
  SecretStorageKey.fromBytes(others, 'k').dispose();
  expect(others).toEqual(Uint8Array.from(bytes));
});

test('a disposed key is of no use', () => {
  const key = SecretStorageKey.generate('k');
  const description = key.describe();
  expect(key.check(description)).toBe('right');
  key.dispose();
  expect(code(() => key.check(description))).toBe('bad-parameters');
  expect(code(() => key.toRecoveryKey())).toBe('bad-parameters');
  expect(code(() => key.encryptSecret('a', 'b'))).toBe('bad-parameters');
});

test('a key is disposed of at the end of its block', () => {
  let kept: SecretStorageKey;
  {
    using key = SecretStorageKey.generate('k');
    kept = key;
  }
  expect(code(() => kept.toRecoveryKey())).toBe('bad-parameters');
});

test.each<[string, (text: string) => unknown]>([
  ['the backup decryption key', (secret) => BackupDecryptionKey.fromSecret(secret).key.toBase64()],
  ['the MAC key', (secret) => BackupMacKey.fromBase64(secret).toBase64()],
  ['the master key', (secret) => readMasterKey(secret).signingKey],
])('the secret of %s is read with white space around it, and not within', (_, read) => {
  const secret = unpadded(bytes);
  for (const around of [`${secret}\n`, ` \t${secret}=\r\n`, `\u00a0${secret}`]) {
    expect(read(around)).toEqual(read(secret));
  }
  expect(code(() => read(`${secret.slice(0, 9)} ${secret.slice(9)}`))).toMatch(/^bad-/);
});

describe('the master key out of the storage', () => {
  test.each(['', 'AAAA', '????', unpadded(randomBytes(33)), undefined, 7])('refuses %j', (secret) => {
    expect(code(() => readMasterKey(secret as string))).toMatch(
      typeof secret === 'string' ? /^bad-(length|base64)$/ : /^bad-json$/,
    );
  });

  test('its signature makes a backup trusted', () => {
    const master = readMasterKey(`${unpadded(randomBytes(32))}=\n`);
    const userId = '@a:example.org';
    const authData = signAuthData(createAuthData(BackupDecryptionKey.generate().publicKey), [
      master.signer(userId),
    ]);
    expect(verifyAuthData(authData, { userId, trustedKeys: [master.signingKey] }).by).toBe('signature');
    const other = readMasterKey(unpadded(randomBytes(32)));
    expect(verifyAuthData(authData, { userId, trustedKeys: [other.signingKey] }).trusted).toBe(false);
  });
});
