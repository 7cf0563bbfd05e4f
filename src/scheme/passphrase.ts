import {
  callback,
  now,
  throwIfAborted,
  yieldToEventLoop,
  YIELD_INTERVAL_MS,
  type SignalOptions,
  type WaitOptions,
} from '../async.js';
import { expectOptions, expectText } from '../encoding/arguments.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha512 } from '@noble/hashes/sha2.js';
import { awaitBackend, assertBytes } from './backend-call.js';
import { concat, copyBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe, numberOr } from '../errors.js';
import { utf8Encode } from '../encoding/utf8.js';

/**
 * Keys from a passphrase, as in legacy backups: PBKDF2-HMAC-SHA-512 with parameters from `auth_data`.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 */

/** The server chooses the number of rounds: more than this would only keep the processor busy. */
export const MAX_ITERATIONS = 10_000_000;

/**
 * The server chooses the rounds: with fewer than this, anything published of the key gives the passphrase away, so such
 * a key only reads.
 */
export const MIN_ITERATIONS = 100_000;

/** The parameters in `auth_data`. */
export interface PassphraseParameters {
  /** The salt is the UTF-8 bytes of this string, which is not decoded. */
  readonly private_key_salt: string;
  /** 1 to 10,000,000; usually 500,000. */
  readonly private_key_iterations: number;
  /** 256, also when absent. */
  readonly private_key_bits?: number;
}

/** The part of a `Backend` that derives keys from passphrases. */
export interface Pbkdf2Backend {
  readonly name: string;
  /** PBKDF2-HMAC-SHA-512. */
  readonly pbkdf2?: (
    passphrase: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    length: number,
    options: SignalOptions,
  ) => Promise<Uint8Array>;
}

/** What {@link derivePassphraseKey} accepts besides the passphrase. */
export interface DeriveOptions extends WaitOptions {
  /** Derives with PBKDF2 of the platform; pure JavaScript otherwise. */
  readonly backend?: Pbkdf2Backend | undefined;
}

/**
 * Derives the 32 bytes of a legacy backup key, without Unicode normalisation of the passphrase.
 *
 * A wrong passphrase gives another key: `BackupDecryptionKey.fromPassphrase` also compares it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 * @param passphrase - As the user typed it.
 * @param parameters - The `auth_data` as it came from the server, or its {@link PassphraseParameters}.
 * @returns 32 bytes; the caller owns and wipes them.
 * @throws {@link KeyBackupError} `missing-field`, `bad-parameters` (types, 1 to 10,000,000 iterations, 256 bits
 * only), `aborted`, `backend-failed`.
 *
 * @example
 * ```ts
 * import { derivePassphraseKey } from 'megolm-backup/engine';
 *
 * const auth_data = { private_key_salt: 'a salt', private_key_iterations: 1000 };
 * console.log((await derivePassphraseKey('a passphrase', auth_data)).length); // 32
 * ```
 */
export async function derivePassphraseKey(
  passphrase: string,
  parameters: unknown,
  options: DeriveOptions = {},
): Promise<Uint8Array> {
  expectOptions(options);
  const { salt, iterations } = checkParameters(parameters);
  return deriveKey(passphrase, salt, iterations, options);
}

/** The 32 bytes that a passphrase gives with a salt as text; the caller owns and wipes them. */
export async function deriveKey(
  passphrase: string,
  salt: string,
  iterations: number,
  options: DeriveOptions,
): Promise<Uint8Array> {
  const password = passwordBytes(passphrase);
  try {
    return await pbkdf2(password, utf8Encode(salt), iterations, 32, options);
  } finally {
    wipe(password);
  }
}

/** A passphrase as UTF-8, without Unicode normalisation; the caller wipes it. */
export function passwordBytes(passphrase: unknown): Uint8Array {
  return utf8Encode(expectText(passphrase, 'passphrase'));
}

/** @throws {@link KeyBackupError} `bad-parameters`, `missing-field`. */
export function checkParameters(parameters: unknown): { salt: string; iterations: number } {
  if (typeof parameters !== 'object' || parameters === null) {
    throw new KeyBackupError('bad-parameters', `auth_data: expected an object, got ${describe(parameters)}`);
  }
  const { private_key_salt, private_key_iterations, private_key_bits } = parameters as Record<
    string,
    unknown
  >;
  if (private_key_salt === undefined || private_key_iterations === undefined) {
    throw new KeyBackupError(
      'missing-field',
      'auth_data: expected private_key_salt and private_key_iterations: this backup has no passphrase',
    );
  }
  if (typeof private_key_salt !== 'string') {
    throw new KeyBackupError(
      'bad-parameters',
      `auth_data.private_key_salt: expected a string, got ${describe(private_key_salt)}`,
    );
  }
  checkIterations(private_key_iterations, 'auth_data.private_key_iterations');
  if (private_key_bits !== undefined && private_key_bits !== 256) {
    throw new KeyBackupError(
      'bad-parameters',
      `auth_data.private_key_bits: expected 256 or nothing, got ${numberOr(private_key_bits)}`,
    );
  }
  return { salt: private_key_salt, iterations: private_key_iterations };
}

/** @throws {@link KeyBackupError} `bad-parameters` unless the number of rounds is 1 to 10,000,000. */
export function checkIterations(value: unknown, field: string): asserts value is number {
  if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > MAX_ITERATIONS) {
    throw new KeyBackupError('bad-parameters', `${field}: expected 1 to 10,000,000, got ${numberOr(value)}`);
  }
}

/** PBKDF2-HMAC-SHA-512 of 1 to 64 bytes, by the backend where it has it. The caller owns and wipes them. */
export async function pbkdf2(
  password: Uint8Array,
  salt: Uint8Array,
  iterations: number,
  length: number,
  options: DeriveOptions = {},
): Promise<Uint8Array> {
  const { signal, onProgress, backend } = options;
  throwIfAborted(signal);
  const derive = backend?.pbkdf2;
  if (!backend || !derive || derive === pbkdf2Sha512) {
    return pbkdf2Sha512(password, salt, iterations, length, options);
  }
  const call = () => derive.call(backend, password, salt, iterations, length, { signal });
  const given = await awaitBackend(backend, 'pbkdf2', call, signal);
  const key = copyBytes(assertBytes(backend, 'pbkdf2', given, length));
  try {
    callback(() => onProgress?.({ done: iterations, total: iterations, failed: 0 }));
  } catch (error) {
    wipe(key);
    throw error;
  }
  return key;
}

/**
 * {@link pbkdf2} in pure JavaScript. The loop over noble's HMAC stands here because noble's own asynchronous form can
 * neither be cancelled nor tell how far it is.
 */
export async function pbkdf2Sha512(
  password: Uint8Array,
  salt: Uint8Array,
  iterations: number,
  length: number,
  { signal, onProgress }: WaitOptions,
): Promise<Uint8Array> {
  const progress = (done: number) => callback(() => onProgress?.({ done, total: iterations, failed: 0 }));
  const keyed = hmac.create(sha512, password);
  const round = keyed._cloneInto();
  const block = round.update(concat(salt, Uint8Array.of(0, 0, 0, 1))).digest();
  const sum = block.slice();
  try {
    let pause = now() + YIELD_INTERVAL_MS;
    for (let done = 1; done < iterations; done++) {
      keyed._cloneInto(round).update(block).digestInto(block);
      for (let i = 0; i < sum.length; i++) sum[i] ^= block[i];
      if (done % 256 === 0 && now() >= pause) {
        progress(done);
        await yieldToEventLoop();
        throwIfAborted(signal);
        pause = now() + YIELD_INTERVAL_MS;
      }
    }
    progress(iterations);
    return sum.slice(0, length);
  } finally {
    wipe(block, sum);
    round.destroy();
    keyed.destroy();
  }
}
