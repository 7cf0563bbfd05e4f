import { hkdf } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Decode, base64Encode } from './base64.js';
import { canonicalJson } from './canonical-json.js';
import { copyBytes, equal, expectBytes, wipe } from './bytes.js';
import { isJsonObject, ownValue, type JsonObject } from './json.js';
import type { BackupDecryptionKey } from './keys.js';
import { utf8Encode } from './utf8.js';

/**
 * Backups whose keys prove where they come from: the open proposal MSC4048.
 *
 * The scheme's own MAC covers nothing. This one is an HMAC-SHA-256 over the canonical JSON of `session_data`
 * without `signatures` and `unsigned`, under a key derived from the decryption key, which the server does not have.
 * It stands in `session_data.unsigned`, where every deployed reader ignores it.
 *
 * What it does NOT cover: the room id, the session id (which the session key proves), and the metadata beside
 * `session_data`. And a right MAC says only that a holder of the key wrote the record, not that the room key came
 * from whom it says: the writer declares that (see {@link Authenticity}).
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 */

/** Until the proposal is accepted, its names carry this prefix. */
const UNSTABLE = 'org.matrix.msc4048.';

/** The names to write: with the proposal's prefix while it is open, without it once it is accepted. */
export type MacNames = 'unstable' | 'stable';

/** The secret of secret storage under which the MAC key can be given to a device that may write but not read. */
export const BACKUP_MAC_SECRET = 'org.matrix.msc4048.mac';

/** Where a key came from that its writer does not vouch for. Unknown values read as `m.undefined`. */
export type UnauthenticatedSource = 'm.undefined' | 'm.legacy-v1' | 'm.forwarded_room_key';

/** Whether a restored key proves its origin, and why. Only `verified` does. */
export type Authenticity = 'no-mac' | 'wrong-mac' | 'declared-unauthenticated' | 'verified';

/** The key of the `backup_mac`. Whoever has it can write keys that pass for authenticated, and read none. */
export class BackupMacKey {
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Derives it: HKDF-SHA-256 of the decryption key, no salt, info `MATRIX_BACKUP_MAC_KEY`, 32 bytes. */
  static fromDecryptionKey(key: BackupDecryptionKey): BackupMacKey {
    const privateKey = key.toBytes();
    const bytes = hkdf(sha256, privateKey, undefined, utf8Encode('MATRIX_BACKUP_MAC_KEY'), 32);
    wipe(privateKey);
    return new BackupMacKey(bytes);
  }

  /**
   * @param text - Base64 of 32 bytes, padded or not, as the secret holds it.
   * @throws {@link KeyBackupError} `bad-base64`, `bad-length`.
   */
  static fromBase64(text: string): BackupMacKey {
    return new BackupMacKey(
      copyBytes(expectBytes(base64Decode(text, 'backup MAC key'), 32, 'backup MAC key')),
    );
  }

  /** 43 characters of unpadded base64, for the secret. */
  toBase64(): string {
    return base64Encode(this.#bytes);
  }

  /** The whole HMAC of a `session_data`: 32 bytes. Throws `bad-canonical-json` for what has no canonical form. */
  mac(sessionData: JsonObject): Uint8Array {
    const covered = Object.entries(sessionData).filter(
      ([name]) => name !== 'signatures' && name !== 'unsigned',
    );
    return hmac(sha256, this.#bytes, utf8Encode(canonicalJson(Object.fromEntries(covered))));
  }

  /** Overwrites the key; see {@link BackupDecryptionKey.dispose} for what that cannot reach. */
  dispose(): void {
    wipe(this.#bytes);
  }
}

/**
 * Adds the `backup_mac` to a `session_data`, keeping everything else in `unsigned`.
 *
 * @returns A new object.
 */
export function addBackupMac<T extends JsonObject>(
  sessionData: T,
  macKey: BackupMacKey,
  names: MacNames = 'unstable',
): T & { readonly unsigned: JsonObject } {
  const value = ownValue(sessionData, 'unsigned');
  // Both spellings go, or a record written again would carry an old one beside the new.
  const { backup_mac: _, [`${UNSTABLE}backup_mac`]: __, ...unsigned } = isJsonObject(value) ? value : {};
  const name = names === 'stable' ? 'backup_mac' : `${UNSTABLE}backup_mac`;
  return { ...sessionData, unsigned: { ...unsigned, [name]: base64Encode(macKey.mac(sessionData)) } };
}

/**
 * Checks the `backup_mac` of a `session_data`, under either name. A record that carries both has to be right in both.
 *
 * @returns `no-mac` only when there is none at all: a MAC of a wrong type or form is `wrong-mac`.
 */
export function checkBackupMac(
  sessionData: JsonObject,
  macKey: BackupMacKey,
): 'no-mac' | 'wrong-mac' | 'right' {
  const unsigned = ownValue(sessionData, 'unsigned');
  if (!isJsonObject(unsigned)) return 'no-mac';
  const macs = ['backup_mac', `${UNSTABLE}backup_mac`]
    .map((name) => ownValue(unsigned, name))
    .filter((value) => value !== undefined);
  if (macs.length === 0) return 'no-mac';
  const expected = attempt(() => macKey.mac(sessionData));
  const isRight = (value: unknown) => {
    const mac = attempt(() => base64Decode(value, 'backup_mac'));
    return mac !== undefined && expected !== undefined && equal(mac, expected);
  };
  return macs.every(isRight) ? 'right' : 'wrong-mac';
}

function attempt<T>(operation: () => T): T | undefined {
  try {
    return operation();
  } catch {
    return undefined;
  }
}

/** The field of the plaintext in which the writer says that it does not vouch for the key. */
export function declareUnauthenticated(
  source: UnauthenticatedSource,
  names: MacNames = 'unstable',
): JsonObject {
  return { [names === 'stable' ? 'unauthenticated' : `${UNSTABLE}unauthenticated`]: source };
}

/** What the writer of a plaintext declared, under either name; `undefined` when it vouches for the key. */
export function readUnauthenticated(plaintext: JsonObject): UnauthenticatedSource | undefined {
  const value = ownValue(plaintext, 'unauthenticated') ?? ownValue(plaintext, `${UNSTABLE}unauthenticated`);
  if (value === undefined) return undefined;
  return value === 'm.legacy-v1' || value === 'm.forwarded_room_key' ? value : 'm.undefined';
}
