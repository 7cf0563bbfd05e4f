import { isFromCallback, type SignalOptions } from '../async.js';
import { agreeMany, encapsulateMany, generatePrivateKeys, type Encapsulated } from '../curve25519/x25519.js';
import { concatAll, isBytes, wipe } from '../encoding/bytes.js';
import { isJsonObject } from '../encoding/json.js';
import { KeyBackupError, describe } from '../errors.js';
import { assertBytes, awaitBackend, callBackend } from '../scheme/backend-call.js';
import type { ExportBackend } from '../formats/export-mac.js';
import { pbkdf2Sha512 } from '../scheme/passphrase.js';
import {
  MAC_LENGTH,
  open,
  openSessionData,
  seal,
  sealSessionData,
  sealedLength,
  type OpenedSessionData,
  type ParsedSessionData,
  type Sealed,
  type SessionData,
} from '../scheme/session-data.js';

/** How a backend that works beside this thread wants its work. */
export interface Pipeline {
  /** How many keys in a chunk. */
  readonly chunk: number;
  /** How many chunks may be under way before the first of them is waited for. */
  readonly depth: number;
}

/**
 * The operations that cost time. {@link pureBackend} has all of them in pure JavaScript; a {@link Backend}
 * replaces those where a benchmark proved a win.
 *
 * Many keys travel in one array, 32 bytes each, one after the other.
 */
export interface CompleteBackend extends ExportBackend {
  /** One agreement for each ephemeral private key (32 bytes each, unclamped) with one recipient. */
  readonly encapsulateMany: (
    recipient: Uint8Array,
    ephemeralPrivateKeys: Uint8Array,
  ) => Encapsulated | Promise<Encapsulated>;
  /** X25519 of one private key with many public keys; 32 zero bytes where a public key is of low order. */
  readonly agreeMany: (privateKey: Uint8Array, publicKeys: Uint8Array) => Uint8Array | Promise<Uint8Array>;
  /** HKDF, AES-256-CBC with PKCS#7 and the MAC, under a shared secret. */
  readonly seal: (sharedSecret: Uint8Array, plaintext: Uint8Array) => Sealed;
  /**
   * HKDF, the MAC check and AES-256-CBC, padding still in place. `mac` is 0 to 32 bytes and is compared with as
   * many bytes of the whole HMAC; `undefined` when it does not match.
   */
  readonly open: (
    sharedSecret: Uint8Array,
    ciphertext: Uint8Array,
    mac: Uint8Array,
  ) => Uint8Array | undefined;
  /** PBKDF2-HMAC-SHA-512. */
  readonly pbkdf2: NonNullable<ExportBackend['pbkdf2']>;
  /** Set by a backend that works beside this thread; otherwise a chunk at a time, as large as fits between two yields. */
  readonly pipeline?: Pipeline | undefined;
  /** A whole chunk, for workers: agreements under new ephemeral keys, `seal` and base64. */
  readonly encryptMany?: (
    recipient: Uint8Array,
    plaintexts: readonly Uint8Array[],
    options: SignalOptions,
  ) => Promise<readonly SessionData[]>;
  /** A whole chunk, for workers: agreements, `open` and padding. One result per key. */
  readonly decryptMany?: (
    privateKey: Uint8Array,
    sessionData: readonly ParsedSessionData[],
    options: SignalOptions,
  ) => Promise<readonly (OpenedSessionData | KeyBackupError)[]>;
}

/** Operations by other means than pure JavaScript, which does what is left out. */
export type Backend = Pick<CompleteBackend, 'name'> & Partial<CompleteBackend>;

/** Every operation in pure JavaScript: to name it where no other backend shall be chosen. */
export const pureBackend: CompleteBackend = Object.freeze({
  name: 'pure JavaScript',
  encapsulateMany,
  agreeMany,
  seal,
  open,
  pbkdf2: pbkdf2Sha512,
});

/** What chunks are encrypted and decrypted by: a backend whose results can be relied on. */
export type CheckedBackend = ReturnType<typeof checkBackend>;

/**
 * Completes a backend by pure JavaScript, and checks what it gives: what it throws, and what has another length
 * than the scheme says, comes out as `backend-failed`; a {@link KeyBackupError} of its own stays what it is.
 */
export function checkBackend(backend: Backend) {
  const { name, pipeline } = backend;
  const encapsulating = having(backend, 'encapsulateMany');
  const agreeing = having(backend, 'agreeMany');
  const sealing = having(backend, 'seal');
  const opening = having(backend, 'open');
  const encrypts = backend.encryptMany ?? encapsulating.encapsulateMany !== encapsulateMany;
  const decrypts = backend.decryptMany ?? agreeing.agreeMany !== agreeMany;

  function checkedSeal(sharedSecret: Uint8Array, plaintext: Uint8Array): Sealed {
    const call = () => sealing.seal(sharedSecret, plaintext);
    const given = callBackend(backend, 'seal', call) as Partial<Sealed> | undefined;
    return {
      ciphertext: assertBytes(backend, 'seal', given?.ciphertext, sealedLength(plaintext)),
      mac: assertBytes(backend, 'seal', given?.mac, MAC_LENGTH),
    };
  }

  function checkedOpen(
    sharedSecret: Uint8Array,
    ciphertext: Uint8Array,
    mac: Uint8Array,
  ): Uint8Array | undefined {
    const given = callBackend(backend, 'open', () => opening.open(sharedSecret, ciphertext, mac));
    return given === undefined ? undefined : assertBytes(backend, 'open', given, ciphertext.length);
  }

  /** Encrypts plaintexts under new ephemeral keys. */
  async function encryptChunk(
    recipient: Uint8Array,
    plaintexts: readonly Uint8Array[],
    options: SignalOptions,
  ): Promise<Chunk<SessionData>> {
    if (backend.encryptMany) {
      const call = () => backend.encryptMany?.(recipient, plaintexts, options);
      const given: unknown = await awaitBackend(backend, 'encryptMany', call);
      const isOne = (one: unknown, slot: number): one is SessionData =>
        isSessionDataOf(plaintexts[slot], one);
      return chunkOfResults(assertMany(backend, 'encryptMany', given, plaintexts.length, isOne));
    }
    const privateKeys = generatePrivateKeys(plaintexts.length);
    try {
      const call = () => encapsulating.encapsulateMany(recipient, privateKeys);
      const given = (await awaitBackend(backend, 'encapsulateMany', call)) as
        Partial<Encapsulated> | undefined;
      const check = (keys: unknown) => assertBytes(backend, 'encapsulateMany', keys, privateKeys.length);
      const ephemeralPublicKeys = check(given?.ephemeralPublicKeys);
      const sharedSecrets = check(given?.sharedSecrets);
      return chunkToSeal(plaintexts, { ephemeralPublicKeys, sharedSecrets }, checkedSeal);
    } finally {
      wipe(privateKeys);
    }
  }

  async function decryptChunk(
    privateKey: Uint8Array,
    parsed: readonly ParsedSessionData[],
    options: SignalOptions,
  ): Promise<Chunk<OpenedSessionData>> {
    if (backend.decryptMany) {
      const call = () => backend.decryptMany?.(privateKey, parsed, options);
      const given: unknown = await awaitBackend(backend, 'decryptMany', call);
      return chunkOfResults(assertMany(backend, 'decryptMany', given, parsed.length, isOpenedOrError));
    }
    const publicKeys = ephemeralsOf(parsed);
    const given = await awaitBackend(backend, 'agreeMany', () => agreeing.agreeMany(privateKey, publicKeys));
    const sharedSecrets = assertBytes(backend, 'agreeMany', given, publicKeys.length);
    return chunkToOpen(parsed, sharedSecrets, checkedOpen);
  }

  return {
    name,
    /** How it wants its chunks, where it does that work beside this thread. */
    pipelines: { encrypt: encrypts ? pipeline : undefined, decrypt: decrypts ? pipeline : undefined },
    seal: checkedSeal,
    open: checkedOpen,
    encryptChunk,
    decryptChunk,
  };
}

/** `encryptChunk` in pure JavaScript, at once. */
export function encryptChunkSync(
  recipient: Uint8Array,
  plaintexts: readonly Uint8Array[],
): Chunk<SessionData> {
  const privateKeys = generatePrivateKeys(plaintexts.length);
  try {
    return chunkToSeal(plaintexts, encapsulateMany(recipient, privateKeys), seal);
  } finally {
    wipe(privateKeys);
  }
}

/** `decryptChunk` in pure JavaScript, at once. */
export function decryptChunkSync(
  privateKey: Uint8Array,
  parsed: readonly ParsedSessionData[],
): Chunk<OpenedSessionData> {
  return chunkToOpen(parsed, agreeMany(privateKey, ephemeralsOf(parsed)), open);
}

/** A whole {@link Backend.encryptMany} out of the other operations of a backend. */
export async function encryptMany(
  backend: Backend,
  ...[recipient, plaintexts, options]: Parameters<NonNullable<Backend['encryptMany']>>
): Promise<SessionData[]> {
  const { finish, dispose } = await checkBackend(backend).encryptChunk(recipient, plaintexts, options);
  try {
    return plaintexts.map((_, slot) => finish(slot));
  } finally {
    dispose();
  }
}

/** A whole {@link Backend.decryptMany} out of the other operations of a backend. */
export async function decryptMany(
  backend: Backend,
  ...[privateKey, parsed, options]: Parameters<NonNullable<Backend['decryptMany']>>
): Promise<(OpenedSessionData | KeyBackupError)[]> {
  const { finish, dispose } = await checkBackend(backend).decryptChunk(privateKey, parsed, options);
  try {
    return parsed.map((_, slot) => tryRecord(() => finish(slot)));
  } finally {
    dispose();
  }
}

/** The backend itself for an operation that it has, pure JavaScript otherwise. Called as a method, it keeps its `this`. */
function having<Operation extends keyof CompleteBackend>(
  backend: Backend,
  operation: Operation,
): Pick<CompleteBackend, Operation> {
  return backend[operation] ? (backend as Pick<CompleteBackend, Operation>) : pureBackend;
}

function assertMany<Result>(
  { name }: Backend,
  operation: string,
  value: unknown,
  count: number,
  isOne: (one: unknown, slot: number) => one is Result,
): readonly Result[] {
  if (Array.isArray(value) && value.length === count && value.every(isOne)) return value;
  throw new KeyBackupError(
    'backend-failed',
    `backend ${name}: ${operation}: expected ${count} results, got ${describe(value)} of another kind`,
  );
}

/** Whether an object is a `session_data` of the length that this plaintext comes to. */
function isSessionDataOf(plaintext: Uint8Array, value: unknown): value is SessionData {
  if (!isJsonObject(value)) return false;
  const isBase64Of = (text: unknown, length: number) =>
    typeof text === 'string' && text.length === Math.ceil((length * 4) / 3);
  return (
    isBase64Of(value.ephemeral, 32) &&
    isBase64Of(value.mac, MAC_LENGTH) &&
    isBase64Of(value.ciphertext, sealedLength(plaintext))
  );
}

function isOpenedOrError(one: unknown): one is OpenedSessionData | KeyBackupError {
  if (one instanceof KeyBackupError) return true;
  const { plaintext, flags } = (one ?? {}) as Partial<OpenedSessionData>;
  return isBytes(plaintext) && Array.isArray(flags);
}

/** Keys whose agreements are made together, and which are finished one by one. */
export interface Chunk<Done> {
  /** Finishes the key in a slot, once; it may throw for that key alone. It wipes the key's shared secret. */
  readonly finish: (slot: number) => Done;
  /** Wipes the shared secrets of all slots, for when not all were finished. */
  readonly dispose: () => void;
}

/** A chunk whose keys are finished by their shared secrets, which it wipes. */
function chunkOfSecrets<Done>(
  sharedSecrets: Uint8Array,
  finish: (slot: number, sharedSecret: Uint8Array) => Done,
): Chunk<Done> {
  return {
    finish(slot) {
      const sharedSecret = keyAt(sharedSecrets, slot);
      try {
        return finish(slot, sharedSecret);
      } finally {
        wipe(sharedSecret);
      }
    },
    dispose() {
      wipe(sharedSecrets);
    },
  };
}

function chunkToSeal(
  plaintexts: readonly Uint8Array[],
  { ephemeralPublicKeys, sharedSecrets }: Encapsulated,
  sealBy: CompleteBackend['seal'],
): Chunk<SessionData> {
  return chunkOfSecrets(sharedSecrets, (slot, sharedSecret) =>
    sealSessionData(plaintexts[slot], keyAt(ephemeralPublicKeys, slot), sharedSecret, sealBy),
  );
}

function chunkToOpen(
  parsed: readonly ParsedSessionData[],
  sharedSecrets: Uint8Array,
  openBy: CompleteBackend['open'],
): Chunk<OpenedSessionData> {
  return chunkOfSecrets(sharedSecrets, (slot, sharedSecret) =>
    openSessionData(parsed[slot], sharedSecret, openBy),
  );
}

/** A chunk that was finished elsewhere. */
function chunkOfResults<Done>(results: readonly (Done | KeyBackupError)[]): Chunk<Done> {
  return {
    finish(slot) {
      const result = results[slot];
      if (result instanceof KeyBackupError) throw result;
      return result;
    },
    dispose: () => undefined,
  };
}

/** One of many keys in an array, in place. */
function keyAt(keys: Uint8Array, slot: number): Uint8Array {
  return keys.subarray(32 * slot, 32 * (slot + 1));
}

function ephemeralsOf(parsed: readonly ParsedSessionData[]): Uint8Array {
  return concatAll(parsed.map(({ ephemeral }) => ephemeral));
}

/**
 * What came of one record: the result, or the error that is its alone. `bad-parameters` is about the call, such as a key
 * disposed of meanwhile, and not about one record: it ends the batch.
 */
export function tryRecord<Done>(work: () => Done): Done | KeyBackupError {
  try {
    return work();
  } catch (error) {
    // A fault of the caller or of this package must not pass for a bad key.
    const isOfRecord = error instanceof KeyBackupError && error.code !== 'bad-parameters';
    if (isOfRecord && !isFromCallback(error)) return error;
    throw error;
  }
}
