import { isFromCallback, type WaitOptions } from '../async.js';
import { agreeMany, type Encapsulated, encapsulateMany, generatePrivateKeys } from '../curve25519/x25519.js';
import type { Backend } from './backend.js';
import { awaitBackend, assertBytes, expectManyFrom } from '../scheme/backend-call.js';
import { isBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import type { BackupDecryptionKey, BackupPublicKey } from '../scheme/keys.js';
import {
  checkPlaintext,
  isSessionDataOf,
  openSessionData,
  owned,
  parseSessionData,
  sealSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type ReadOptions,
  type SessionData,
} from '../scheme/session-data.js';

/**
 * The scheme for many plaintexts at once: the agreements are made together, then each key is finished by itself.
 * Below this file there is no room key and no JSON; above it, no cryptography.
 */

/** A chunk after the agreements. */
export interface Finish<Done> {
  /** Finishes the key in a slot, once; it may throw for that key alone. It wipes the key's shared secret. */
  (slot: number): Done;
  /** Wipes the shared secrets of all slots, for when not all are finished. */
  readonly dispose: () => void;
}

/** So many keys at a time gain all that there is to gain. */
export const SYNC_CHUNK = 1024;

/** One result of {@link decryptManySync}. */
export type DecryptedSessionData =
  ({ readonly ok: true } & OpenedSessionData) | { readonly ok: false; readonly error: KeyBackupError };

/**
 * Encrypts many plaintexts to a backup's public key, each under a new ephemeral key, in pure JavaScript and in one
 * call: what `encryptSessionData` does, several times faster for each.
 *
 * @param plaintexts - 0 to 1,048,576 bytes each: the JSON of a room key.
 * @returns One `session_data` per plaintext, in order.
 * @throws {@link KeyBackupError} `too-large`, `bad-parameters`, for a plaintext that is neither bytes nor of that
 * length; nothing is encrypted then.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, decryptManySync, encryptManySync } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const sessionData = encryptManySync([Uint8Array.of(1), Uint8Array.of(2)], key.publicKey);
 * const results = decryptManySync(sessionData, key);
 * console.log(results.map((result) => (result.ok ? result.plaintext.length : result.error.code)).join()); // 1,1
 * ```
 */
export function encryptManySync(
  plaintexts: readonly Uint8Array[],
  publicKey: BackupPublicKey,
): SessionData[] {
  plaintexts.forEach(checkPlaintext);
  const recipient = publicKey.toBytes();
  return chunksOf(plaintexts).flatMap((chunk) => {
    const finish = sealingSync(recipient, chunk);
    try {
      return chunk.map((_, slot) => finish(slot));
    } finally {
      finish.dispose();
    }
  });
}

/**
 * Decrypts many `session_data` in pure JavaScript and in one call. Every one that cannot be read comes out with
 * the one reason why; the codes are those of `decryptSessionData`.
 *
 * @param sessionData - As they came from the server: nothing about them is assumed.
 * @param key - The backup's decryption key.
 * @returns One result per `session_data`, in order.
 */
export function decryptManySync(
  sessionData: readonly unknown[],
  key: BackupDecryptionKey,
  options: ReadOptions = {},
): DecryptedSessionData[] {
  const privateKey = key.toBytes();
  try {
    return chunksOf(sessionData).flatMap((chunk) => {
      const parsed = chunk.map((one) => tryRecord(() => parseSessionData(one, options)));
      const ready = readyOnes(parsed);
      const finish = openingSync(privateKey, ready);
      let slot = 0;
      try {
        return parsed.map((one) => {
          const opened = one instanceof KeyBackupError ? one : tryRecord(() => finish(slot++));
          return opened instanceof KeyBackupError
            ? { ok: false, error: opened }
            : { ok: true, ...owned(opened) };
        });
      } finally {
        finish.dispose();
      }
    });
  } finally {
    wipe(privateKey);
  }
}

/** The agreements of a chunk of encryptions, in pure JavaScript. */
export function sealingSync(recipient: Uint8Array, plaintexts: readonly Uint8Array[]): Finish<SessionData> {
  const ephemeralPrivateKeys = generatePrivateKeys(plaintexts.length);
  try {
    return sealing(plaintexts, encapsulateMany(recipient, ephemeralPrivateKeys), undefined);
  } finally {
    wipe(ephemeralPrivateKeys);
  }
}

/** {@link sealingSync} by a backend, as far as it has what is needed. */
export async function sealingBy(
  backend: Backend,
  recipient: Uint8Array,
  plaintexts: readonly Uint8Array[],
  options: WaitOptions,
): Promise<Finish<SessionData>> {
  if (backend.encryptMany) {
    const call = async () => backend.encryptMany?.(recipient, plaintexts, options);
    const given = await awaitBackend(backend, 'encryptMany', call);
    const isOf = (one: unknown, slot: number): one is SessionData => isSessionDataOf(plaintexts[slot], one);
    return finished(expectManyFrom(backend, 'encryptMany', given, plaintexts.length, isOf));
  }
  const ephemeralPrivateKeys = generatePrivateKeys(plaintexts.length);
  try {
    const agreed = backend.encapsulateMany
      ? await encapsulateBy(backend, recipient, ephemeralPrivateKeys)
      : encapsulateMany(recipient, ephemeralPrivateKeys);
    return sealing(plaintexts, agreed, backend);
  } finally {
    wipe(ephemeralPrivateKeys);
  }
}

async function encapsulateBy(
  backend: Backend,
  recipient: Uint8Array,
  ephemeralPrivateKeys: Uint8Array,
): Promise<Encapsulated> {
  const call = async () => backend.encapsulateMany?.(recipient, ephemeralPrivateKeys);
  const given: Partial<Encapsulated> | undefined = await awaitBackend(backend, 'encapsulateMany', call);
  const expected = (keys: unknown) =>
    assertBytes(backend, 'encapsulateMany', keys, ephemeralPrivateKeys.length);
  return {
    ephemeralPublicKeys: expected(given?.ephemeralPublicKeys),
    sharedSecrets: expected(given?.sharedSecrets),
  };
}

/** A whole {@link Backend.encryptMany} out of what a backend has. */
export async function encryptManyBy(
  backend: Backend,
  ...[recipient, plaintexts, options]: Parameters<NonNullable<Backend['encryptMany']>>
): Promise<SessionData[]> {
  const finish = await sealingBy(backend, recipient, plaintexts, options);
  try {
    return plaintexts.map((_, slot) => finish(slot));
  } finally {
    finish.dispose();
  }
}

function sealing(
  plaintexts: readonly Uint8Array[],
  { ephemeralPublicKeys, sharedSecrets }: Encapsulated,
  backend: Backend | undefined,
): Finish<SessionData> {
  return withSecrets(sharedSecrets, (slot, sharedSecret) =>
    sealSessionData(plaintexts[slot], keyAt(ephemeralPublicKeys, slot), sharedSecret, backend),
  );
}

function withSecrets<Done>(
  sharedSecrets: Uint8Array,
  work: (slot: number, sharedSecret: Uint8Array) => Done,
): Finish<Done> {
  const finish = (slot: number) => {
    const sharedSecret = keyAt(sharedSecrets, slot);
    try {
      return work(slot, sharedSecret);
    } finally {
      wipe(sharedSecret);
    }
  };
  const dispose = () => {
    wipe(sharedSecrets);
  };
  return Object.assign(finish, { dispose });
}

/** The agreements of a chunk of decryptions, in pure JavaScript. */
export function openingSync(
  privateKey: Uint8Array,
  parsed: readonly ParsedSessionData[],
): Finish<OpenedSessionData> {
  return opening(parsed, agreeMany(privateKey, ephemerals(parsed)), undefined);
}

/** {@link openingSync} by a backend, as far as it has what is needed. */
export async function openingBy(
  backend: Backend,
  privateKey: Uint8Array,
  parsed: readonly ParsedSessionData[],
  options: WaitOptions,
): Promise<Finish<OpenedSessionData>> {
  if (backend.decryptMany) {
    const call = async () => backend.decryptMany?.(privateKey, parsed, options);
    const given = await awaitBackend(backend, 'decryptMany', call);
    return finished(expectManyFrom(backend, 'decryptMany', given, parsed.length, isOpenedOrRefused));
  }
  const sharedSecrets = backend.agreeMany
    ? await agreeBy(backend, privateKey, ephemerals(parsed))
    : agreeMany(privateKey, ephemerals(parsed));
  return opening(parsed, sharedSecrets, backend);
}

async function agreeBy(
  backend: Backend,
  privateKey: Uint8Array,
  publicKeys: Uint8Array,
): Promise<Uint8Array> {
  const call = async () => backend.agreeMany?.(privateKey, publicKeys);
  const given = await awaitBackend(backend, 'agreeMany', call);
  return assertBytes(backend, 'agreeMany', given, publicKeys.length);
}

function isOpenedOrRefused(one: unknown): one is OpenedSessionData | KeyBackupError {
  if (one instanceof KeyBackupError) return true;
  const { plaintext, flags } = (one ?? {}) as Partial<OpenedSessionData>;
  return isBytes(plaintext) && Array.isArray(flags);
}

/** A whole {@link Backend.decryptMany} out of what a backend has. */
export async function decryptManyBy(
  backend: Backend,
  ...[privateKey, parsed, options]: Parameters<NonNullable<Backend['decryptMany']>>
): Promise<(OpenedSessionData | KeyBackupError)[]> {
  const finish = await openingBy(backend, privateKey, parsed, options);
  try {
    return parsed.map((_, slot) => tryRecord(() => finish(slot)));
  } finally {
    finish.dispose();
  }
}

function opening(
  parsed: readonly ParsedSessionData[],
  sharedSecrets: Uint8Array,
  backend: Backend | undefined,
): Finish<OpenedSessionData> {
  return withSecrets(sharedSecrets, (slot, sharedSecret) =>
    openSessionData(parsed[slot], sharedSecret, backend),
  );
}

function finished<Done>(results: readonly (Done | KeyBackupError)[]): Finish<Done> {
  const finish = (slot: number) => {
    const result = results[slot];
    if (result instanceof KeyBackupError) throw result;
    return result;
  };
  return Object.assign(finish, { dispose: () => undefined });
}

/**
 * What came of one key: the result, or the error that is its alone. `bad-parameters` is about the call, such as a key
 * disposed of meanwhile, and not about one key: it ends the batch.
 */
export function tryRecord<Done>(work: () => Done): Done | KeyBackupError {
  try {
    return work();
  } catch (error) {
    // A fault of the caller or of this package must not pass for a bad key.
    const isOfKey = error instanceof KeyBackupError && error.code !== 'bad-parameters';
    if (isOfKey && !isFromCallback(error)) return error;
    throw error;
  }
}

/** Those that did not fail. */
export function readyOnes<Ready>(states: readonly (Ready | KeyBackupError)[]): Ready[] {
  return states.filter((state): state is Ready => !(state instanceof KeyBackupError));
}

function chunksOf<Item>(items: readonly Item[]): (readonly Item[])[] {
  const chunks: (readonly Item[])[] = [];
  for (let i = 0; i < items.length; i += SYNC_CHUNK) chunks.push(items.slice(i, i + SYNC_CHUNK));
  return chunks;
}

function ephemerals(parsed: readonly ParsedSessionData[]): Uint8Array {
  const keys = new Uint8Array(32 * parsed.length);
  parsed.forEach(({ ephemeral }, slot) => {
    keys.set(ephemeral, 32 * slot);
  });
  return keys;
}

function keyAt(keys: Uint8Array, slot: number): Uint8Array {
  return keys.subarray(32 * slot, 32 * (slot + 1));
}
