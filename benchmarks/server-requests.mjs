// What the measurements of servers send, and how it is timed.
import { randomBytes } from 'node:crypto';
import { keyData } from './key-data.mjs';

/**
 * Sends a request for each item, a number of them at a time. All are made before the clock starts.
 *
 * @param request - Makes the method, path and body of an item.
 * @returns Milliseconds of each, seconds of all, and the server's seconds of processor time.
 */
export async function many({ client, cpu }, items, clients, request) {
  const requests = items.map((item) => client.request(...request(item)));
  const times = [];
  let next = 0;
  const before = cpu();
  const begin = performance.now();
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (next < requests.length) {
        const bytes = requests[next++];
        const begun = performance.now();
        await client.send(bytes);
        times.push(performance.now() - begun);
      }
    }),
  );
  return { times, seconds: (performance.now() - begin) / 1000, cpu: cpu() - before };
}

export async function newVersion(server) {
  const body = JSON.stringify({ algorithm: 'm.megolm_backup.v1.curve25519-aes-sha2', auth_data: {} });
  // Not parsed: the client leaves an answer in chunks as it came.
  return /"version": *"([^"]+)"/.exec(await server.call('POST', '/version', body))[1];
}

export const putKeys = (version) => (body) => ['PUT', `/keys?version=${version}`, body];
export const getKeys = (version) => () => ['GET', `/keys?version=${version}`];
export const putKey = (version) => (id) => ['PUT', pathOfKey(version, id), JSON.stringify(keyData(0))];
export const getKey = (version) => (id) => ['GET', pathOfKey(version, id)];

function pathOfKey(version, { room, session }) {
  return `/keys/${encodeURIComponent(room)}/${encodeURIComponent(session)}?version=${version}`;
}

/** Random sessions in 200 rooms, and a body that holds a key of each. */
export function newBatch(count, index = 0) {
  const ids = Array.from({ length: count }, () => ({
    room: `!room${Math.floor(Math.random() * 200)}:example.org`,
    session: randomBytes(32).toString('base64').slice(0, 43),
    index,
  }));
  return { ids, body: batchOf(ids) };
}

/** Other keys for the same sessions: two thirds of them are better than those of index 5. */
export function replacing(ids) {
  return batchOf(ids.map((id, i) => ({ ...id, index: i % 3 === 0 ? 9 : 1 })));
}

/** Bodies with 200 new keys each. */
export function batches(count) {
  return Array.from({ length: count }, () => newBatch(200).body);
}

function batchOf(ids) {
  const rooms = {};
  for (const { room, session, index } of ids) {
    (rooms[room] ??= { sessions: {} }).sessions[session] = keyData(index);
  }
  return JSON.stringify({ rooms });
}

export function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}
