/**
 * The parts of Matrix server-side key backup, as pure functions over bytes and JSON: no input or output, no platform
 * interfaces needed. Keys and errors are in `megolm-backup`.
 *
 * @packageDocumentation
 */

export { base64Decode, base64Encode } from './encoding/base64.js';
export { canonicalJson } from './encoding/canonical-json.js';
export type { Encapsulated } from './curve25519/x25519.js';
export { decodeRecoveryKey, encodeRecoveryKey } from './scheme/recovery-key.js';
export {
  MAX_ITERATIONS,
  derivePassphraseKey,
  type PassphraseParameters,
  type Pbkdf2Backend,
} from './scheme/passphrase.js';
export {
  MAX_PLAINTEXT_BYTES,
  decryptSessionData,
  encryptSessionData,
  type OpenedSessionData,
  type ParsedSessionData,
  type Sealed,
} from './scheme/session-data.js';
export { addBackupMac, checkBackupMac } from './scheme/backup-mac.js';
export {
  MEGOLM_ALGORITHM,
  prepareRoomKey,
  readRoomKey,
  type PreparedRoomKey,
  type RestoredRoomKey,
} from './formats/room-key.js';
export { readSessionKey, type SessionKeyFacts } from './formats/session-key.js';
export { prepareExportedSession, readExportedSession } from './formats/exported-session.js';
export type { ExportBackend, StreamMac } from './formats/export-mac.js';
export { MAX_EXPORT_BYTES, decryptKeyExport, type DecryptExportOptions } from './formats/key-export.js';
export { pureBackend, type Backend, type CompleteBackend, type Pipeline } from './batch/backend.js';
