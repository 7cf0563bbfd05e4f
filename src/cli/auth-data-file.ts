import { open } from 'node:fs/promises';
import { BACKUP_ALGORITHM, type SigningKey } from '../engine/auth-data.js';
import { KeyBackupError } from '../engine/errors.js';
import { isJsonObject, ownValue, parseObject, type JsonObject } from '../engine/json.js';
import { InputError, UsageError } from './command.js';
import { errorCode } from './key-file.js';

/** An `auth_data` is a key and some signatures; what is larger is another file given by mistake. */
const MAX_BYTES = 1024 * 1024;

/**
 * Reads a file with an `auth_data`, bare or inside the version object that `GET /room_keys/version` gives.
 *
 * @throws {@link InputError} when it is unreadable or no JSON object.
 * @throws {@link KeyBackupError} `unsupported-algorithm` for a version of another algorithm.
 */
export async function readAuthDataFile(path: string): Promise<JsonObject> {
  const object = parse(await readText(path), path);
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

async function readText(path: string): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      if (size > MAX_BYTES)
        throw new InputError(`${path}: expected an auth_data, got a file of ${size} bytes`);
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`cannot read ${path} (${errorCode(cause)})`, { cause });
  }
}

function parse(text: string, path: string): JsonObject {
  try {
    return parseObject(text, path);
  } catch (cause) {
    throw new InputError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
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
