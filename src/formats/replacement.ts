import type { KeyBackupData } from './room-key.js';

/** The part of a backed-up key that decides between two copies of it. */
export type KeyRank = Pick<KeyBackupData, 'is_verified' | 'first_message_index' | 'forwarded_count'>;

/**
 * Which of two copies of a key a backup keeps: verified wins; then the lower `first_message_index`; then the
 * lower `forwarded_count`. A tie keeps the stored one. The whole record is replaced, never a part of it.
 *
 * A client cannot rely on a server to do this: some deployed ones compare wrongly and lose good keys.
 *
 * @returns Whether the candidate takes the stored key's place.
 * @see https://spec.matrix.org/v1.19/client-server-api/#backup-algorithm-mmegolm_backupv1curve25519-aes-sha2
 *
 * @example
 * ```ts
 * const stored = { is_verified: false, first_message_index: 0, forwarded_count: 0 };
 * replaces({ ...stored, is_verified: true, first_message_index: 7 }, stored); // true
 * ```
 */
export function replaces(candidate: KeyRank, stored: KeyRank): boolean {
  if (candidate.is_verified !== stored.is_verified) return candidate.is_verified;
  if (candidate.first_message_index !== stored.first_message_index) {
    return candidate.first_message_index < stored.first_message_index;
  }
  return candidate.forwarded_count < stored.forwarded_count;
}
