/** The code of an error: a closed union, so that the compiler checks a `switch`, also in a `catch`. */
export type ErrorCode =
  // Keys, parameters and the data of a backup.

  /** Another key or another ephemeral. It says nothing about the ciphertext. */
  | 'mac-mismatch'
  | 'bad-mac-length'
  | 'bad-base64'
  /** A key, seed or signature has the wrong number of bytes. */
  | 'bad-length'
  | 'bad-padding'
  | 'bad-ciphertext-length'
  /** A point of small order: the shared secret would be all zero. */
  | 'low-order-key'
  | 'bad-utf8'
  /** Not JSON, JSON of another shape than specified, or a value that JavaScript would change. */
  | 'bad-json'
  | 'missing-field'
  | 'bad-session-key'
  | 'session-id-mismatch'
  /** The authenticated copy of the room id differs from the room id of the record. */
  | 'room-id-mismatch'
  /** The key is not authenticated, and `requireAuthenticated` is set. */
  | 'not-authenticated'
  | 'unsupported-algorithm'
  /** The decryption key does not derive the backup's public key. */
  | 'wrong-key'
  /** Nothing proves that the key is right. */
  | 'unproven-key'
  | 'bad-auth-data'
  /** The text form of a key is invalid; `check` names the failed check. */
  | 'bad-recovery-key'
  | 'bad-canonical-json'
  | 'bad-signature'
  | 'wrong-passphrase'
  | 'bad-export-file'
  /** An argument of a wrong type, or a number of a caller or server that is out of bounds. */
  | 'bad-parameters'
  | 'too-large'
  | 'aborted'
  | 'backend-failed'

  // Bodies of requests and responses.

  /** Not JSON at all, or not UTF-8. */
  | 'not-json'
  /** The body ended before its last bracket. */
  | 'truncated'

  // The client.

  /** Any other status; see `status` and `errcode`. */
  | 'http'
  | 'network'
  | 'timeout'
  | 'rate-limited'
  /** 401: the access token is missing, wrong or expired. */
  | 'unauthorized'
  /** 404 with `M_NOT_FOUND`. Without it a 404 is `http`: it may be a proxy's. */
  | 'not-found'
  /** The backup version is no longer current; see `current_version`. */
  | 'wrong-version'
  /** Neither the decryption key nor a trusted signature vouches for the backup. */
  | 'untrusted-backup'
  /** A 2xx response that violates the specification. */
  | 'bad-response'

  // The server and its stores, for administrators. Callers of the API get Matrix errors.

  /** The database failed, is full, or is gone. Nothing was stored. */
  | 'store-failed'
  /** The database was made by a newer release. */
  | 'unsupported-schema'
  /** An optional package is not installed; the message has the command that installs it. */
  | 'missing-dependency';

/** The check that a recovery key failed. */
export type RecoveryKeyCheck = 'alphabet' | 'length' | 'prefix' | 'parity';

/** Optional parts of a {@link KeyBackupError}. */
export interface KeyBackupErrorOptions {
  /** The underlying error. */
  readonly cause?: unknown;
  /** With `bad-recovery-key`: the check that failed. */
  readonly check?: RecoveryKeyCheck;
}

/**
 * Every error this package throws on purpose.
 *
 * `message` names the field, what was expected and what came. It never holds key bytes, plaintext or a
 * passphrase, so it may be logged.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, KeyBackupError } from 'megolm-backup';
 *
 * try {
 *   BackupDecryptionKey.fromRecoveryKey('EsT0 not a key');
 * } catch (error) {
 *   if (error instanceof KeyBackupError) console.log(error.code, error.check); // bad-recovery-key alphabet
 * }
 * ```
 */
export class KeyBackupError extends Error {
  /** The reason. */
  readonly code: ErrorCode;
  /** With `bad-recovery-key`: the check that failed. */
  readonly check: RecoveryKeyCheck | undefined;

  constructor(code: ErrorCode, message: string, options: KeyBackupErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KeyBackupError';
    this.code = code;
    this.check = options.check;
  }
}

/** The message of an error of any realm; `undefined` if it has none. */
export function messageOf(error: unknown): string | undefined {
  const message = (error as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message : undefined;
}

/** A wrong value in a message: its type, never its content. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  if (ArrayBuffer.isView(value)) {
    const kind = Object.prototype.toString.call(value).slice('[object '.length, -1);
    return kind === 'Uint8Array' ? `${value.byteLength} bytes` : `a ${kind}`;
  }
  if (typeof value === 'object') return 'an object';
  return `a ${typeof value}`;
}

/** {@link describe} of a parameter that is not secret: a number is shown. */
export function numberOr(value: unknown): string {
  return typeof value === 'number' ? String(value) : describe(value);
}

/**
 * Imports an optional peer.
 *
 * @param load - The dynamic import itself, so that bundlers see it.
 * @param installs - What to hand to `npm install`.
 * @throws {@link KeyBackupError} `missing-dependency`, when and only when the package is not there.
 */
export async function importPeer<Module>(load: () => Promise<Module>, installs: string): Promise<Module> {
  try {
    return await load();
  } catch (cause) {
    const code = (cause as { code?: unknown } | null)?.code;
    if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw cause;
    throw new KeyBackupError(
      'missing-dependency',
      `an optional package is missing: npm install ${installs}`,
      { cause },
    );
  }
}
