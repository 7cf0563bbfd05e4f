/**
 * The one error class of this package and the engine's closed union of codes.
 *
 * Each storey of the package adds its own union beside this one (`ClientCode`, `ServerCode`), so that a
 * `switch` over `error.code` narrows to what can really come.
 */

/** What the engine can say about data, keys and parameters it refuses. */
export type EngineCode =
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
  /** Not JSON, or JSON of another shape than the specification gives. */
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
  /** A caller's argument, or a number a server chose, outside its bounds. */
  | 'bad-parameters'
  | 'too-large'
  | 'aborted'
  | 'backend-failed';

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
export class KeyBackupError<Code extends string = EngineCode> extends Error {
  /** Why, from a closed union: made for `switch`. */
  readonly code: Code;
  /** With `bad-recovery-key`: the check that failed. */
  readonly check: RecoveryKeyCheck | undefined;

  constructor(code: Code, message: string, options: KeyBackupErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KeyBackupError';
    this.code = code;
    this.check = options.check;
  }
}

/** How a wrong value is named in a message: its type, never its content. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === 'object') return 'an object';
  return `a ${typeof value}`;
}

/** {@link describe} of a parameter, which is no secret: a number is named itself. */
export function numberOr(value: unknown): string {
  return typeof value === 'number' ? String(value) : describe(value);
}
