import type { KeyBackupError } from '../errors.js';
import type { OpenedSessionData, ParsedSessionData, SessionData } from '../scheme/session-data.js';

/**
 * The seam between the scheme and the machine: the few operations that cost time. The pure JavaScript default
 * stands behind every one of them; a backend replaces those where a benchmark proved a win (see `backends/`).
 *
 * Many keys travel in one array, 32 bytes each, one after the other.
 */

/** What one agreement per ephemeral key gives. */
export interface Encapsulated {
  /** The ephemeral public keys X25519(e, 9), 32 bytes each. */
  readonly ephemeralPublicKeys: Uint8Array;
  /** The shared secrets X25519(e, recipient), 32 bytes each; all zero where the recipient is of low order. */
  readonly sharedSecrets: Uint8Array;
}

/** What {@link Backend.seal} gives: the two parts of `session_data` that the shared secret makes. */
export interface Sealed {
  readonly ciphertext: Uint8Array;
  /** 8 bytes: HMAC-SHA-256 of the EMPTY string. It says that both ends derived the same keys, nothing else. */
  readonly mac: Uint8Array;
}

/** How far a long operation is. `total` is absent where nobody knows it. */
export interface Progress {
  readonly done: number;
  readonly total: number | undefined;
  readonly failed: number;
}

/** What an operation of a {@link Backend} accepts. Callbacks stay with the engine. */
export interface SignalOptions {
  /** Aborting it makes the operation fail with `aborted`. */
  readonly signal?: AbortSignalLike | undefined;
}

/** What everything that waits accepts. */
export interface WaitOptions extends SignalOptions {
  /**
   * Told how far the operation is, from time to time and at the end. What it throws ends the operation and reaches the
   * caller unchanged.
   */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** The part of the web's AbortSignal that the engine uses. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  readonly reason?: unknown;
  /** As the web's. */
  addEventListener(type: 'abort', listener: () => void): void;
  /** As the web's. */
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** How a backend that works beside the thread wants its work. */
export interface Pipeline {
  /** So many keys at a time. */
  readonly chunk: number;
  /** So many chunks may be under way before the first of them is waited for. */
  readonly depth: number;
}

/** Operations by other means than pure JavaScript; what is left out is done in pure JavaScript. */
export interface Backend {
  /** Shown in benchmarks and errors. */
  readonly name: string;
  /**
   * How the agreements and whole sessions are wanted. Left out by a backend that works on this thread: one chunk at
   * a time, as large as fits between two turns.
   */
  readonly pipeline?: Pipeline | undefined;
  /** One agreement for each ephemeral private key (32 bytes each, unclamped) with one recipient. */
  readonly encapsulateMany?: (
    recipient: Uint8Array,
    ephemeralPrivateKeys: Uint8Array,
  ) => Promise<Encapsulated>;
  /** X25519 of one private key with many public keys; 32 zero bytes where a public key is of low order. */
  readonly agreeMany?: (privateKey: Uint8Array, publicKeys: Uint8Array) => Promise<Uint8Array>;
  /** HKDF, AES-256-CBC with PKCS#7 and the MAC, under a shared secret. */
  readonly seal?: (sharedSecret: Uint8Array, plaintext: Uint8Array) => Sealed;
  /**
   * HKDF, the MAC check and AES-256-CBC, padding still in place. `mac` is 0 to 32 bytes and is compared with as
   * many bytes of the whole HMAC; `undefined` when it does not fit.
   */
  readonly open?: (
    sharedSecret: Uint8Array,
    ciphertext: Uint8Array,
    mac: Uint8Array,
  ) => Uint8Array | undefined;
  /** All that encryption needs keys for: agreements under new ephemeral keys, {@link Backend.seal} and base64. */
  readonly encryptMany?: (
    recipient: Uint8Array,
    plaintexts: readonly Uint8Array[],
    options: SignalOptions,
  ) => Promise<readonly SessionData[]>;
  /** All that decryption needs keys for: agreements, {@link Backend.open} and padding. One result per key. */
  readonly decryptMany?: (
    privateKey: Uint8Array,
    sessionData: readonly ParsedSessionData[],
    options: SignalOptions,
  ) => Promise<readonly (OpenedSessionData | KeyBackupError)[]>;
  /** PBKDF2-HMAC-SHA-512. */
  readonly pbkdf2?: (
    passphrase: Uint8Array,
    salt: Uint8Array,
    iterations: number,
    length: number,
    options: SignalOptions,
  ) => Promise<Uint8Array>;
}

/** The engine itself: to name when no other backend shall be chosen. */
export const pureBackend: Backend = Object.freeze({ name: 'pure JavaScript' });
