/**
 * The one error class of this package and the one closed union of its codes, so that a `switch` over `error.code` is
 * checked by the compiler, also in a `catch`.
 */

/** Why this package refused something. */
export type ErrorCode =
  // Keys, parameters and the data of a backup.

  /** The MAC does not fit: another key, or another ephemeral. It says nothing about the ciphertext. */
  | 'mac-mismatch'
  | 'bad-mac-length'
  | 'bad-base64'
  /** A key, seed or signature is not as many bytes as it has to be. */
  | 'bad-length'
  | 'bad-padding'
  | 'bad-ciphertext-length'
  /** A point of small order: the shared secret would be all zero. */
  | 'low-order-key'
  | 'bad-utf8'
  /** Not JSON, JSON of another shape than the specification gives, or a value that JavaScript would change. */
  | 'bad-json'
  | 'missing-field'
  | 'bad-session-key'
  | 'session-id-mismatch'
  /** The authenticated copy of the room id names another room than the one the record stands in. */
  | 'room-id-mismatch'
  /** Nothing proves where the key comes from, and such keys are not wanted. */
  | 'not-authenticated'
  | 'unsupported-algorithm'
  /** The decryption key does not derive the backup's public key. */
  | 'wrong-key'
  /** Nothing has proven that the key is the right one. */
  | 'unproven-key'
  | 'bad-auth-data'
  /** A text form of a key that does not read; `check` says which check failed. */
  | 'bad-recovery-key'
  | 'bad-canonical-json'
  | 'bad-signature'
  | 'wrong-passphrase'
  | 'bad-export-file'
  /** An argument of a wrong type, or a number outside its bounds that a caller or a server chose. */
  | 'bad-parameters'
  | 'too-large'
  | 'aborted'
  | 'backend-failed'

  // Bodies of requests and answers.

  /** Not JSON at all, or not UTF-8. */
  | 'not-json'
  /** The body ended before its last bracket. */
  | 'truncated'

  // The client.

  /** A status that no other code fits; see `status` and `errcode`. */
  | 'http'
  | 'network'
  | 'timeout'
  | 'rate-limited'
  /** 401: the access token is missing, wrong or expired. */
  | 'unauthorized'
  /** 404 with `M_NOT_FOUND`. A 404 without it is `http`: a proxy's error page says nothing about a backup. */
  | 'not-found'
  /** The backup version is no longer the current one; see `current_version`. */
  | 'wrong-version'
  /** No trusted key vouches for the backup, so nothing is encrypted to it. */
  | 'untrusted-backup'
  /** A 2xx answer that is not what the specification says. */
  | 'bad-response'

  // The server and its stores, to those who run them. What a caller of the API is told is a Matrix error.

  /** The database refused, is full, or is gone. Nothing was stored. */
  | 'store-failed'
  /** The database was made by a newer release. */
  | 'unsupported-schema'
  /** An optional package is not installed; the message holds the line that installs it. */
  | 'missing-dependency';

/** Which of the four checks a recovery key failed. */
export type RecoveryKeyCheck = 'alphabet' | 'length' | 'prefix' | 'parity';

/** What a {@link KeyBackupError} may carry besides its code and message. */
export interface KeyBackupErrorOptions {
  /** The lower error this one explains. */
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
  /** Why, from a closed union: made for `switch`. */
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

/** The message of what was thrown, which may be an error of another realm; `undefined` where it has none. */
export function messageOf(error: unknown): string | undefined {
  const message = (error as { message?: unknown } | null | undefined)?.message;
  return typeof message === 'string' ? message : undefined;
}

/** How a wrong value is named in a message: its type, never its content. */
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

/** {@link describe} of a parameter, which is no secret: a number is named itself. */
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
