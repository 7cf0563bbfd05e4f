import type { KeysChanged } from '../wire/types.js';
import { replaces, type KeyRank } from '../formats/replacement.js';
import { key, keysPath, writes } from './backup.js';
import { recommendation, specification, type Check } from './check.js';
import { expectEqual, expectError, expectRejected, expectThat, type User } from './server-under-test.js';

const KEYS = 'Server-side key backups';
const PUT = 'Server-side key backups, PUT /room_keys/keys';
const DELETE = 'Server-side key backups, DELETE /room_keys/keys';
const ETAG = 'Server-side key backups, etag of GET /room_keys/version';
const DATA = 'Server-side key backups, KeyBackupData';

/** Checks of keys that are written again, deleted and counted. */
export const REPLACEMENT_CHECKS: readonly Check[] = [
  ...specification(KEYS, {
    'of two copies verified wins, then the lower index, then the lower count': async ({ alice, version }) => {
      for (const batched of [false, true]) {
        for (const [i, stored] of RANKS.entries()) {
          const candidates = RANKS.filter((candidate) => candidate !== stored);
          const sessions = candidates.map((candidate, j) => ({ id: `${batched}-${i}-${j}`, candidate }));
          const all = (mark: string, of: (candidate: KeyRank) => KeyRank): Record<string, unknown> =>
            Object.fromEntries(sessions.map(({ id, candidate }) => [id, marked(of(candidate), mark)]));
          await alice.putKeys(version, { '!r:x': { sessions: all('oldA', () => stored) } });
          const news = all('newA', (candidate) => candidate);
          if (batched) await alice.putKeys(version, { '!r:x': { sessions: news } });
          else for (const id of Object.keys(news)) await alice.putKey(version, '!r:x', id, news[id]);
          for (const { id, candidate } of sessions) {
            const expected = replaces(candidate, stored) ? marked(candidate, 'newA') : marked(stored, 'oldA');
            const what = `${JSON.stringify(candidate)} over ${JSON.stringify(stored)}`;
            expectEqual(await alice.getKeys(version, '!r:x', id), expected, what);
          }
        }
      }
    },
    'a better copy replaces the whole session_data': async ({ alice, version }) => {
      const { session_data } = key();
      const stored = { ...key(5), session_data: { ...session_data, old: 1, both: 1 } };
      await alice.putKey(version, '!r:x', 's', stored);
      const better = { ...key(4), session_data: { ...session_data, new: 1, both: 2 } };
      await alice.putKey(version, '!r:x', 's', better);
      expectEqual(await alice.getKeys(version, '!r:x', 's'), better, 'the key');
    },
  }),
  ...recommendation('a repeated upload then changes nothing', {
    'of two equally good copies the stored one stays': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key(3, 0, false, 'oldA'));
      await alice.putKey(version, '!r:x', 's', key(3, 0, false, 'newA'));
      expectEqual(await alice.getKeys(version, '!r:x', 's'), key(3, 0, false, 'oldA'), 'the key');
    },
  }),
  ...specification(ETAG, {
    'the etag changes when keys change': async ({ alice, version }) => {
      const etags = new Set([(await alice.readVersion()).etag]);
      for (const [what, change] of changes(alice, version)) {
        const { etag } = await change();
        expectThat(!etags.has(etag), `etag after ${what}: expected a new one, got one seen before`);
        etags.add(etag);
        expectEqual((await alice.readVersion()).etag, etag, `etag of the version after ${what}`);
      }
    },
    'the etag stays when a write changes nothing': async ({ alice, version }) => {
      await alice.putKeys(version, { '!r:x': { sessions: { s: key(3), t: key(3) } } });
      const { etag } = await alice.readVersion();
      for (const rooms of [
        { '!r:x': { sessions: { s: key(4), t: key(9) } } },
        {},
        { '!r:x': { sessions: {} } },
      ]) {
        await alice.putKeys(version, rooms);
        expectEqual((await alice.readVersion()).etag, etag, 'etag');
      }
    },
    'the etag stays when a deletion finds no keys': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      const { etag } = await alice.readVersion();
      for (const ids of [['!r:x', 'none'], ['!none:x']]) {
        await alice.deleteKeys(version, ...ids);
        expectEqual((await alice.readVersion()).etag, etag, 'etag');
      }
    },
  }),
  ...specification(DELETE, {
    'keys may be deleted from an older version': async ({ alice, version: older }) => {
      await alice.putKeys(older, { '!r:x': { sessions: { s: key(), t: key() } } });
      await alice.newVersion();
      expectEqual((await alice.deleteKeys(older, '!r:x', 's')).count, 1, 'count');
    },
    'deleting keys from an unknown version is 404': async ({ alice }) => {
      for (const [path] of writes()) {
        await expectError(alice.call('DELETE', path('none')), 404, 'M_NOT_FOUND');
      }
    },
  }),
  ...specification(DATA, {
    'a key without a required field is rejected': async ({ alice, version }) => {
      for (const field of Object.keys(key())) {
        await expectKeyRejected(alice, version, { ...key(), [field]: undefined }, `without ${field}`);
      }
    },
    'a key with a field of another type is rejected': async ({ alice, version }) => {
      for (const fields of [
        { first_message_index: 1.5 },
        { first_message_index: '0' },
        { forwarded_count: null },
        { is_verified: 'false' },
        { is_verified: 0 },
        { session_data: [] },
        { session_data: 'x' },
      ]) {
        await expectKeyRejected(alice, version, { ...key(), ...fields }, `with ${JSON.stringify(fields)}`);
      }
    },
  }),
  ...recommendation('no session has such a number, and it would win or lose against every true one', {
    'a negative index and a count beyond 2^53 are rejected': async ({ alice, version }) => {
      for (const fields of [{ first_message_index: -1 }, { forwarded_count: 2 ** 53 }]) {
        await expectKeyRejected(alice, version, { ...key(), ...fields }, `with ${JSON.stringify(fields)}`);
      }
    },
  }),
  ...specification(PUT, {
    'count is the number of keys': async ({ alice, version }) => {
      for (const [what, change, expected] of changes(alice, version)) {
        expectEqual((await change()).count, expected, `count after ${what}`);
        expectEqual((await alice.readVersion()).count, expected, `count of the version after ${what}`);
      }
      expectEqual(await alice.getKeys(version), { rooms: {} }, 'GET /keys');
    },
    'a body of another shape is rejected': async ({ alice, version }) => {
      for (const body of [
        {},
        { rooms: [] },
        { rooms: { '!r:x': {} } },
        { rooms: { '!r:x': { sessions: [] } } },
        [],
        null,
      ]) {
        await expectRejected(alice.call('PUT', keysPath(version), body), undefined, JSON.stringify(body));
      }
    },
  }),
  ...recommendation('a client that sent 200 keys knows that none of them is stored', {
    'a batch with an invalid key stores nothing': async ({ alice, version }) => {
      const { etag } = await alice.readVersion();
      await alice.call('PUT', keysPath(version), batchWith({ ...key(), is_verified: 'false' }));
      const after = await alice.readVersion();
      expectEqual([after.count, after.etag], [0, etag], 'count and etag');
      expectEqual(await alice.getKeys(version), { rooms: {} }, 'GET /keys');
    },
  }),
  ...recommendation('the client can leave out that key and send the others', {
    'the error about an invalid key names the room, the session and the field': async ({
      alice,
      version,
    }) => {
      const bad = batchWith({ ...key(), is_verified: 'false' });
      const body = await expectError(alice.call('PUT', keysPath(version), bad), 400, 'M_BAD_JSON');
      const text = String(body.error);
      for (const id of ['!room-name:x', 'session-name', 'is_verified']) {
        expectThat(text.includes(id), `error: expected it to name ${id}, got ${text}`);
      }
    },
  }),
];

const RANKS: readonly KeyRank[] = [false, true].flatMap((is_verified) =>
  [0, 7].flatMap((first_message_index) =>
    [0, 7].map((forwarded_count) => ({ is_verified, first_message_index, forwarded_count })),
  ),
);

function marked(rank: KeyRank, ciphertext: string): unknown {
  return key(rank.first_message_index, rank.forwarded_count, rank.is_verified, ciphertext);
}

/** Changes of a new version, one after another, and how many keys there are after each. */
function changes(user: User, version: string): [what: string, () => Promise<KeysChanged>, count: number][] {
  return [
    ['a batch', () => user.putKeys(version, { '!r:x': { sessions: { s: key(3), t: key(3) } } }), 2],
    ['a better key', () => user.putKeys(version, { '!r:x': { sessions: { s: key(2), t: key(9) } } }), 2],
    ['another key', () => user.putKey(version, '!q:x', 's', key()), 3],
    ['a deleted key', () => user.deleteKeys(version, '!r:x', 's'), 2],
    ['a deleted room', () => user.deleteKeys(version, '!q:x'), 1],
    ['the deletion of all', () => user.deleteKeys(version), 0],
  ];
}

function batchWith(bad: unknown): object {
  const good = { sessions: { good: key() } };
  const rooms = { '!first:x': good, '!room-name:x': { sessions: { good: key(), 'session-name': bad } } };
  return { rooms: { ...rooms, '!last:x': good } };
}

/** Expects a key to be rejected wherever it is written to. */
async function expectKeyRejected(user: User, version: string, bad: unknown, detail: string): Promise<void> {
  for (const [path, body] of writes(bad)) {
    await expectRejected(user.call('PUT', path(version), body), undefined, detail);
  }
}
