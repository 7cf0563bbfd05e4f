// Exports of random megolm sessions, about 700 bytes of JSON each.
import { generateKeyPairSync, randomBytes } from 'node:crypto';

const base64 = (bytes) => bytes.toString('base64').replace(/=+$/, '');

/** A public Ed25519 key. Other implementations reject bytes that are not a point of the curve. */
export function ed25519() {
  const { publicKey } = generateKeyPairSync('ed25519');
  return publicKey.export({ format: 'der', type: 'spki' }).subarray(-32);
}

// As in real accounts, a device has made several sessions.
const SESSIONS_PER_DEVICE = 8;
const devices = [];

function makeDevice() {
  return { sender_claimed_keys: { ed25519: base64(ed25519()) }, sender_key: base64(randomBytes(32)) };
}

/** @param signingKey - Of the session. Random bytes are faster to make than a key, and most measurements take them. */
export function makeSession(
  index = 0,
  room_id = `!${base64(randomBytes(12))}:example.org`,
  signingKey = randomBytes(32),
) {
  const bytes = Buffer.concat([Buffer.alloc(5, 1), randomBytes(128), signingKey]);
  bytes.writeUInt32BE(index % 100, 1);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [base64(randomBytes(32))],
    room_id,
    ...(devices[Math.floor(index / SESSIONS_PER_DEVICE) % 2000] ??= makeDevice()),
    session_id: base64(signingKey),
    session_key: base64(bytes),
    shared_history: true,
    'm.shared_history': true,
  };
}

export const makeSessions = (count) => Array.from({ length: count }, (_, i) => makeSession(i));
