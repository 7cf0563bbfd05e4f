// What the server benchmark sends, and how it is timed.
import { randomBytes } from 'node:crypto';

/**
 * Sends a request for each item, several at a time. All are made before the clock starts.
 *
 * @param request - Makes the method, path and body of an item.
 * @returns Milliseconds of each, seconds of all, and the server's seconds of processor time.
 */
export async function sendAll(server, items, clients, request) {
  const requests = items.map((item) => server.request(...request(item)));
  const connections = Array.from({ length: clients }, () => server.open());
  const times = [];
  let next = 0;
  const before = server.cpu();
  const begin = performance.now();
  try {
    await Promise.all(
      connections.map(async (connection) => {
        while (next < requests.length) {
          const bytes = requests[next++];
          const begun = performance.now();
          await connection.send(bytes);
          times.push(performance.now() - begun);
        }
      }),
    );
    return { times, seconds: (performance.now() - begin) / 1000, cpu: server.cpu() - before };
  } finally {
    for (const connection of connections) connection.close();
  }
}

export async function newVersion(server) {
  const body = JSON.stringify({ algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2', auth_data: {} });
  // Not parsed: an answer in chunks is returned as it came.
  return /"version": *"([^"]+)"/.exec(await server.call('POST', '/version', body))[1];
}

export const putKeys = (version) => (body) => ['PUT', `/keys?version=${version}`, body];
export const getKeys = (version) => () => ['GET', `/keys?version=${version}`];
export const putKey = (version) => (id) => ['PUT', pathOfKey(version, id), JSON.stringify(keyData(0))];
export const getKey = (version) => (id) => ['GET', pathOfKey(version, id)];

function pathOfKey(version, { room, session }) {
  return `/keys/${encodeURIComponent(room)}/${encodeURIComponent(session)}?version=${version}`;
}

/** The `KeyBackupData` of a random key: about 1.2 KB as JSON. */
function keyData(first_message_index) {
  return {
    first_message_index,
    forwarded_count: 0,
    is_verified: false,
    session_data: {
      ephemeral: randomBytes(32).toString('base64').slice(0, 43),
      ciphertext: randomBytes(740).toString('base64'),
      mac: randomBytes(8).toString('base64').slice(0, 11),
    },
  };
}

/** Random sessions in 200 rooms, and a body with a key of each. */
export function newBatch(count, index = 0) {
  const ids = Array.from({ length: count }, () => ({
    room: `!room${Math.floor(Math.random() * 200)}:example.org`,
    session: randomBytes(32).toString('base64').slice(0, 43),
    index,
  }));
  return { ids, body: bodyOf(ids) };
}

/** Other keys for the same sessions: two thirds of them are better than those of index 5. */
export function replacing({ ids }) {
  return bodyOf(ids.map((id, i) => ({ ...id, index: i % 3 === 0 ? 9 : 1 })));
}

/** Bodies of 200 new keys each. */
export const bodies = (count) => Array.from({ length: count }, () => newBatch(200).body);

function bodyOf(ids) {
  const rooms = {};
  for (const { room, session, index } of ids) {
    (rooms[room] ??= { sessions: {} }).sessions[session] = keyData(index);
  }
  return JSON.stringify({ rooms });
}
