/** A real input: 1,000 megolm sessions in 50 rooms, exported by libolm. */
import { pick, randomInteger, seed } from './random.mjs';
import { device, megolmSession, randomRoomId } from './room-key.mjs';

const ROOMS = 50;
const SESSIONS = 1000;
const DEVICES = 120;

/** At which message index a key is exported: most from the start, some from far on. */
const INDEXES = [0, 0, 0, 0, 0, 0, 1, 2, 7, 100, 101, 255, 256, 1000, 65_536, 100_000];

/** An array of `ExportedSessionData`. */
export function sampleExport() {
  seed('sample-export');
  const rooms = Array.from({ length: ROOMS }, randomRoomId);
  rooms[1] = '!комната-部屋-🔑:example.org';
  const devices = Array.from({ length: DEVICES }, device);
  return Array.from({ length: SESSIONS }, (_, i) => {
    // Every room has two keys at least; the rest falls on the first rooms more often than on the last.
    const room = i < 2 * ROOMS ? i % ROOMS : Math.min(randomInteger(ROOMS), randomInteger(ROOMS));
    const { session_id, sessionKeys } = megolmSession([pick(INDEXES)]);
    const sender = pick(devices);
    const hops = pick([0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
    const shared = pick([undefined, undefined, true, false]);
    return {
      algorithm: 'm.megolm.v1.aes-sha2',
      forwarding_curve25519_key_chain: Array.from({ length: hops }, () => pick(devices).curve25519),
      room_id: rooms[room],
      sender_claimed_keys: { ed25519: sender.ed25519 },
      sender_key: sender.curve25519,
      session_id,
      session_key: sessionKeys[0],
      ...(shared === undefined ? {} : { shared_history: shared, 'm.shared_history': shared }),
    };
  });
}
