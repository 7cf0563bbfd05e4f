/**
 * A `fetch` behind which there is a homeserver with one user's key backups. Its answers are plain objects, because
 * not every platform has `Response`.
 *
 * @param streams - Whether an answer has a body to read piece by piece; React Native's has none.
 */
export function homeserverInMemory({ streams }) {
  const versions = [];
  const described = ({ version, algorithm, auth_data, rooms, etag }) => ({
    version,
    algorithm,
    auth_data,
    etag: String(etag),
    count: Object.values(rooms).reduce((sum, { sessions }) => sum + Object.keys(sessions).length, 0),
  });

  function answer(method, path, version, body) {
    const id = path.split('/')[2];
    if (method === 'POST' && path === '/version') {
      versions.push({ ...body, version: `v${versions.length + 1}`, rooms: Object.create(null), etag: 0 });
      return { version: versions[versions.length - 1].version };
    }
    const found = path.startsWith('/version')
      ? id === undefined
        ? versions.filter(({ deleted }) => !deleted).pop()
        : versions.find((one) => one.version === id && !one.deleted)
      : versions.find((one) => one.version === version && !one.deleted);
    if (!found) return undefined;
    if (method === 'DELETE') {
      found.deleted = true;
      return {};
    }
    if (path.startsWith('/version')) return described(found);
    if (method === 'GET') return { rooms: found.rooms };
    for (const [room, { sessions }] of Object.entries(body.rooms)) {
      found.rooms[room] ??= { sessions: Object.create(null) };
      Object.assign(found.rooms[room].sessions, sessions);
    }
    found.etag++;
    const { etag, count } = described(found);
    return { etag, count };
  }

  return (url, { method, body }) => {
    const [, path, version] = /room_keys(\/[^?]*)(?:\?version=(\w+))?/.exec(url) ?? [];
    const value = path && answer(method, path, version, body === undefined ? undefined : JSON.parse(body));
    const missing = { errcode: 'M_NOT_FOUND', error: 'there is none' };
    return Promise.resolve(response(value ? 200 : 404, bytesOf(value ?? missing), streams));
  };
}

/** JSON in ASCII, so that it needs no encoder. */
function bytesOf(value) {
  const escaped = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
  const text = JSON.stringify(value).replace(/[\u0080-\uffff]/g, escaped);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function response(status, bytes, streams) {
  const headers = { get: () => null };
  const arrayBuffer = () => Promise.resolve(bytes.buffer);
  if (!streams) return { status, headers, arrayBuffer };
  let offset = 0;
  const read = () => {
    const value = bytes.subarray(offset, (offset += 1000));
    return Promise.resolve(value.length > 0 ? { done: false, value } : { done: true });
  };
  const body = { getReader: () => ({ read, cancel: () => Promise.resolve() }) };
  return { status, headers, arrayBuffer, body };
}
