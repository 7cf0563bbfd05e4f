import type { SignalOptions } from '../async.js';
import type { KeyBackupError } from '../errors.js';
import type { Encapsulated } from '../curve25519/x25519.js';
import type { Pbkdf2Backend } from '../scheme/passphrase.js';
import type {
  OpenedSessionData,
  ParsedSessionData,
  SessionData,
  SessionDataBackend,
} from '../scheme/session-data.js';

/**
 * The seam between the scheme and the machine: the few operations that cost time. The pure JavaScript default
 * stands behind every one of them; a backend replaces those where a benchmark proved a win (see `backends/`).
 *
 * Many keys travel in one array, 32 bytes each, one after the other.
 */

/** How a backend that works beside the thread wants its work. */
export interface Pipeline {
  /** So many keys at a time. */
  readonly chunk: number;
  /** So many chunks may be under way before the first of them is waited for. */
  readonly depth: number;
}

/** Operations by other means than pure JavaScript; what is left out is done in pure JavaScript. */
export interface Backend extends SessionDataBackend, Pbkdf2Backend {
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
}

/** The engine itself: to name when no other backend shall be chosen. */
export const pureBackend: Backend = Object.freeze({ name: 'pure JavaScript' });
