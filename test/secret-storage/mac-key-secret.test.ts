import { describe, expect, test } from 'vitest';
import {
  BACKUP_MAC_SECRET,
  BackupDecryptionKey,
  BackupMacKey,
  KeyBackupError,
  SecretStorageKey,
  readMacKeySecret,
} from '../../src/index.js';

const { stable, unstable } = BACKUP_MAC_SECRET;
const key = BackupDecryptionKey.generate();
const own = BackupMacKey.fromDecryptionKey(key).toBase64();
const other = BackupMacKey.fromDecryptionKey(BackupDecryptionKey.generate()).toBase64();
const storage = SecretStorageKey.generate('writers');

/** Account data with these secrets under the storage key. */
function holding(secrets: Readonly<Record<string, string>>, by = storage) {
  return Object.fromEntries(
    Object.entries(secrets).map(([name, secret]) => [name, by.encryptSecret(name, secret)]),
  );
}

function codeOf(operation: () => unknown): string {
  try {
    operation();
  } catch (error) {
    if (error instanceof KeyBackupError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

describe('a MAC key in secret storage', () => {
  test('of another backup is refused, where the decryption key is at hand', () => {
    for (const name of [stable, unstable]) {
      expect(codeOf(() => readMacKeySecret(storage, holding({ [name]: other }), key))).toBe('wrong-key');
    }
    const both = holding({ [stable]: other, [unstable]: other });
    expect(codeOf(() => readMacKeySecret(storage, both, key))).toBe('wrong-key');
  });

  test('that is the decryption key itself is refused', () => {
    const accountData = holding({ [unstable]: key.toBase64() });
    expect(codeOf(() => readMacKeySecret(storage, accountData, key))).toBe('wrong-key');
    // Without the decryption key it is known at the first use.
    const macKey = readMacKeySecret(storage, accountData)!;
    expect(() => {
      macKey.expectMatch(key.publicKey);
    }).toThrow(/got the decryption key/);
  });

  test('under both names has to be one key, unless the decryption key tells which is right', () => {
    const differing = holding({ [stable]: other, [unstable]: own });
    expect(codeOf(() => readMacKeySecret(storage, differing))).toBe('wrong-key');
    expect(readMacKeySecret(storage, differing, key)?.toBase64()).toBe(own);
    const same = readMacKeySecret(storage, holding({ [stable]: own, [unstable]: own }));
    expect(same?.toBase64()).toBe(own);
  });

  test('that does not fit is named', () => {
    const message = 'the MAC key in the secret storage: expected that of this backup, got that of another';
    expect(() => readMacKeySecret(storage, holding({ [unstable]: other }), key)).toThrow(message);
    const both = `${stable} and ${unstable}: expected one key, got two`;
    expect(() => readMacKeySecret(storage, holding({ [stable]: other, [unstable]: own }))).toThrow(both);
  });

  test('that cannot be read is not one that is not there', () => {
    const foreign = SecretStorageKey.generate('readers');
    expect(codeOf(() => readMacKeySecret(storage, holding({ [unstable]: own }, foreign)))).toBe(
      'missing-field',
    );
    const impostor = SecretStorageKey.generate(storage.id);
    expect(codeOf(() => readMacKeySecret(storage, holding({ [unstable]: own }, impostor)))).toBe(
      'mac-mismatch',
    );
    expect(codeOf(() => readMacKeySecret(storage, { [unstable]: 5 }))).toBe('bad-json');
    expect(codeOf(() => readMacKeySecret(storage, holding({ [unstable]: 'AAAA' })))).toBe('bad-length');
    expect(codeOf(() => readMacKeySecret(storage, holding({ [unstable]: 'no key' })))).toBe('bad-base64');
    // The secret's name is bound to what it was stored under.
    const moved = { [stable]: holding({ [unstable]: own })[unstable] };
    expect(codeOf(() => readMacKeySecret(storage, moved))).toBe('mac-mismatch');
  });

  test('that was deleted or never stored is undefined', () => {
    for (const accountData of [{}, { [unstable]: {} }, { [stable]: {}, [unstable]: {} }]) {
      expect(readMacKeySecret(storage, accountData, key)).toBeUndefined();
    }
    expect(readMacKeySecret(storage, Object.create({ [unstable]: {} }))).toBeUndefined();
  });

  test.each([stable, unstable])('is read as %s, padded or not', (name) => {
    for (const secret of [own, `${own}=`, `${own}\n`]) {
      const accountData = holding({ [name]: secret });
      for (const given of [undefined, key]) {
        expect(readMacKeySecret(storage, accountData, given)?.toBase64()).toBe(own);
      }
    }
  });

  test('compared with the decryption key knows which backup it is of', () => {
    const found = readMacKeySecret(storage, holding({ [unstable]: own }), key);
    expect(() => found?.expectMatch(BackupDecryptionKey.generate().publicKey)).toThrow(KeyBackupError);
  });
});
