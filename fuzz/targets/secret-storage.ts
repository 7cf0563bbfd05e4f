import {
  defaultKeyId,
  keyDescription,
  passphraseParameters,
} from '../../src/secret-storage/key-description.js';
import { readMasterKey } from '../../src/secret-storage/account-secrets.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { claim, claimEqual, jsonOf, textOf, words, type Seen, type Target } from '../target.js';
import { jsonsOf } from '../corpus.js';

const KEY = new Uint8Array(32).fill(0x23);
const NAME = 'm.megolm_backup.v1';
/** Its key comes out of nowhere. */
const ANYWAY = { allowUnproven: true };

/** Account data of a user: the default key, its description, a secret. */
export const secretStorageTarget: Target = {
  name: 'secret-storage',
  jsonAt: 0,
  words: words`
    "m.secret_storage.default_key":{"key":"k"} "m.secret_storage.key.k":{
    "m.megolm_backup.v1":{"encrypted":{"k":{ "algorithm":"m.secret_storage.v1.aes-hmac-sha2" "iv":"
    "mac":" "ciphertext":" "passphrase":{ "algorithm":"m.pbkdf2" "salt":"s" "iterations":500000
    "iterations":0 "bits":256 "bits":512 "__proto__": , AAAA =
  `,
  maxLength: 2048,
  seeds: () => {
    const key = SecretStorageKey.fromBytes(KEY, 'k');
    const account = {
      'm.secret_storage.default_key': { key: 'k' },
      'm.secret_storage.key.k': {
        ...key.describe(ANYWAY),
        passphrase: { algorithm: 'm.pbkdf2', salt: 'salt', iterations: 1000, bits: 256 },
      },
      [NAME]: key.encryptSecret(NAME, 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc', ANYWAY),
    };
    const descriptions = jsonsOf('secret-storage', 'description', 800).map(
      (description) => `{"m.secret_storage.key.k":${description}}`,
    );
    return [JSON.stringify(account), ...descriptions];
  },
  run(input, seen) {
    readAccount(input, seen);
    const secret = textOf(input);
    const key = SecretStorageKey.fromBytes(KEY, 'k');
    const stored = key.encryptSecret(NAME, secret, ANYWAY);
    claimEqual(key.decryptSecret(NAME, stored), secret, 'round trip of any text');
    seen.allow(['bad-base64', 'bad-length'], () => readMasterKey(secret));
  },
};

function readAccount(input: Uint8Array, seen: Seen): void {
  const parsed = jsonOf(textOf(input));
  if (!parsed || typeof parsed.value !== 'object' || parsed.value === null) {
    seen.count('no object');
    return;
  }
  const account = parsed.value as Record<string, unknown>;
  const codes = ['missing-field', 'bad-json', 'unsupported-algorithm'];
  const id = seen.allow(codes, () => defaultKeyId(account))?.value ?? 'k';
  const key = SecretStorageKey.fromBytes(KEY, id);
  const description = seen.allow(codes, () => keyDescription(account, id));
  if (description) {
    claim(['right', 'wrong', 'unchecked'].includes(key.check(description.value)), 'one of three answers');
    const read = seen.allow([...codes, 'bad-parameters'], () => passphraseParameters(description.value));
    if (read) claim(read.value.iterations >= 1 && read.value.iterations <= 10_000_000, 'bounded rounds');
  }
  const refused = [
    ...codes,
    'mac-mismatch',
    'bad-base64',
    'bad-length',
    'bad-mac-length',
    'bad-utf8',
    'too-large',
  ];
  const secret = seen.allow(refused, () =>
    key.decryptSecret(NAME, Object.hasOwn(account, NAME) ? account[NAME] : undefined),
  );
  if (secret) claim(typeof secret.value === 'string', 'a text');
}
