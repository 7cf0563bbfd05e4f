import { base64Decode } from '../encoding/base64.js';
import { expectBytes } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import { expectObject, expectString, ownValue, type JsonObject } from '../encoding/json.js';
import { excerpt, quote } from '../encoding/quote.js';
import { SECRETS, descriptionMac, keyDescription, type AccountData } from './key-description.js';

/** Characters. A secret is a key in base64. */
const MAX_CIPHERTEXT = 64 * 1024;

/** A secret, decoded. */
export interface SealedSecret {
  readonly iv: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly mac: Uint8Array;
}

/** Reads the secret of a name under a storage key. */
export function encryptedSecret(name: string, content: unknown, id: string): SealedSecret {
  const missing = (field: string) =>
    new KeyBackupError('missing-field', `${field}: expected a secret under this storage key, got nothing`);
  if (content === undefined) throw missing(name);
  const encrypted = ownValue(expectObject(content, name), 'encrypted');
  if (encrypted === undefined) throw missing(`${name}.encrypted`);
  const stored = ownValue(expectObject(encrypted, `${name}.encrypted`), id);
  const field = `${name}.encrypted[${quote(id)}]`;
  if (stored === undefined) throw missing(field);
  const secret: JsonObject = expectObject(stored, field);
  const text = expectString(secret, 'ciphertext', field);
  if (text.length > MAX_CIPHERTEXT) {
    throw new KeyBackupError(
      'too-large',
      `${field}.ciphertext: expected at most ${MAX_CIPHERTEXT} characters, got ${text.length}`,
    );
  }
  const mac = base64Decode(expectString(secret, 'mac', field), `${field}.mac`);
  if (mac.length !== 32) {
    throw new KeyBackupError('bad-mac-length', `${field}.mac: expected 32 bytes, got ${mac.length}`);
  }
  const iv = base64Decode(expectString(secret, 'iv', field), `${field}.iv`);
  return {
    iv: expectBytes(iv, 16, `${field}.iv`),
    ciphertext: base64Decode(text, `${field}.ciphertext`),
    mac,
  };
}

/** Why no key can be compared with what the account data has of this one; `undefined` if a MAC or a secret is there. */
export function whyIncomparable(id: string, accountData: AccountData): KeyBackupError | undefined {
  const hasSecret = SECRETS.some((name) => {
    try {
      return encryptedSecret(name, ownValue(accountData, name), id).mac.length > 0;
    } catch {
      return false;
    }
  });
  if (hasSecret) return undefined;
  const field = excerpt(`m.secret_storage.key.${id}`);
  try {
    if (descriptionMac(keyDescription(accountData, id), field)) return undefined;
  } catch (error) {
    return error as KeyBackupError;
  }
  return new KeyBackupError(
    'missing-field',
    `${field}: expected a MAC or a secret to compare the key with, got nothing`,
  );
}
