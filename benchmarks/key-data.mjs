import { randomBytes } from 'node:crypto';

/** The `KeyBackupData` of a random key: about 1.2 KB as JSON. */
export function keyData(index) {
  return {
    first_message_index: index,
    forwarded_count: 0,
    is_verified: false,
    session_data: {
      ephemeral: randomBytes(32).toString('base64').slice(0, 43),
      ciphertext: randomBytes(740).toString('base64'),
      mac: randomBytes(8).toString('base64').slice(0, 11),
    },
  };
}
