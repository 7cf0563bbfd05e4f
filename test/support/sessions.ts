import { type ExportedSessionData } from '../../src/index.js';
import { base64Encode } from '../../src/engine.js';

/** A Curve25519 key, and the Ed25519 key of the first test of RFC 8032: other implementations take both. */
const DEVICE = {
  sender_key: 'A'.repeat(43),
  sender_claimed_keys: { ed25519: '11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo' },
} as const;

/**
 * Exported sessions that differ in every field that matters. The ratchets are not secret, and most of the sessions'
 * own signing keys are not points of the curve, which nothing on the way looks at.
 */
export function makeSessions(count: number, rooms = 3): ExportedSessionData[] {
  return Array.from({ length: count }, (_, i) => makeSession(i, `!room${i % rooms}:example.org`));
}

/** One of {@link makeSessions}. */
export function makeSession(seed: number, room_id: string, firstIndex = seed % 7): ExportedSessionData {
  const bytes = new Uint8Array(165);
  const view = new DataView(bytes.buffer);
  bytes[0] = 1;
  view.setUint32(1, firstIndex);
  for (let i = 5; i < 165; i++) bytes[i] = Math.imul(seed + 1, i * 2654435761) >>> 24;
  view.setUint32(133, seed);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id,
    ...DEVICE,
    session_id: base64Encode(bytes.subarray(133)),
    session_key: base64Encode(bytes),
  };
}
