// Sessions to measure with: exports of random megolm sessions, about 700 bytes of JSON each.
import { generateKeyPairSync, randomBytes } from 'node:crypto';

const base64 = (bytes) => bytes.toString('base64').replace(/=+$/, '');

// As in real accounts, a device has made several sessions; and other implementations drop a claimed key that is not a
// point of the curve.
const SESSIONS_PER_DEVICE = 8;
const devices = [];

function makeDevice() {
  const { publicKey } = generateKeyPairSync('ed25519');
  const ed25519 = base64(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32));
  return { sender_claimed_keys: { ed25519 }, sender_key: base64(randomBytes(32)) };
}

export function makeSession(index = 0) {
  const bytes = randomBytes(165);
  bytes[0] = 1;
  bytes.writeUInt32BE(index % 100, 1);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [base64(randomBytes(32))],
    room_id: `!${base64(randomBytes(12))}:example.org`,
    ...(devices[Math.floor(index / SESSIONS_PER_DEVICE)] ??= makeDevice()),
    session_id: base64(bytes.subarray(133)),
    session_key: base64(bytes),
    shared_history: true,
    'm.shared_history': true,
  };
}

export const makeSessions = (count) => Array.from({ length: count }, (_, i) => makeSession(i));
