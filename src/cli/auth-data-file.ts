import { UsageError } from './errors.js';
import { BACKUP_ALGORITHM, type SigningKey } from '../scheme/auth-data.js';
import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import { readJsonObject } from './json-file.js';

/** An `auth_data` is a key and some signatures; what is larger is another file given by mistake. */
const MAX_BYTES = 1024 * 1024;

/**
 * Reads a file with an `auth_data`, bare or inside the version object that `GET /room_keys/version` gives.
 *
 * @throws `InputError` when it is unreadable or no JSON object.
 * @throws {@link KeyBackupError} `unsupported-algorithm` for a version of another algorithm.
 */
export async function readAuthDataFile(path: string): Promise<JsonObject> {
  const object = await readJsonObject(path, 'an auth_data', MAX_BYTES);
  const authData = ownValue(object, 'auth_data');
  if (!isJsonObject(authData)) return object;
  const algorithm = ownValue(object, 'algorithm');
  if (algorithm !== undefined && algorithm !== BACKUP_ALGORITHM) {
    throw new KeyBackupError(
      'unsupported-algorithm',
      `${path}: algorithm: expected ${BACKUP_ALGORITHM}, got another`,
    );
  }
  return authData;
}

/**
 * Reads `ed25519:ID=BASE64` as given with `--key`.
 *
 * @throws {@link UsageError} when it has another form.
 */
export function parseSigningKey(text: string): SigningKey {
  const match = /^(ed25519:[^=]+)=([A-Za-z0-9+/]{43}=?)$/.exec(text);
  if (!match) throw new UsageError('a key is given as ed25519:ID=BASE64 (43 characters of base64)');
  return { keyId: match[1], publicKey: match[2] };
}
