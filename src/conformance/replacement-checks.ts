import { replaces, type KeyRank } from '../api/replacement.js';
import { getKey, getKeys, key, keysPath, newVersion, putKey, putKeys, readVersion } from './backup.js';
import { expectEqual, expectError, expectOk, expectThat, type Check } from './server-under-test.js';

/** What the specification says of keys that are written again, deleted and counted. */
export const REPLACEMENT_CHECKS: readonly Check[] = [
  {
    name: 'of two copies verified wins, then the lower index, then the lower count; a tie keeps the stored one',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const ranks: KeyRank[] = [];
      for (const is_verified of [false, true]) {
        for (const first_message_index of [0, 7]) {
          for (const forwarded_count of [0, 7])
            ranks.push({ is_verified, first_message_index, forwarded_count });
        }
      }
      for (const batched of [false, true]) {
        for (const [i, stored] of ranks.entries()) {
          const sessions = ranks.map((candidate, j) => ({ id: `${batched}-${i}-${j}`, candidate }));
          const all = (mark: string, of: (candidate: KeyRank) => KeyRank): Record<string, unknown> =>
            Object.fromEntries(sessions.map(({ id, candidate }) => [id, marked(of(candidate), mark)]));
          await putKeys(alice, version, { '!r:x': { sessions: all('old', () => stored) } });
          const news = all('new', (candidate) => candidate);
          if (batched) await putKeys(alice, version, { '!r:x': { sessions: news } });
          else for (const id of Object.keys(news)) await putKey(alice, version, '!r:x', id, news[id]);
          for (const { id, candidate } of sessions) {
            const expected = replaces(candidate, stored) ? marked(candidate, 'new') : marked(stored, 'old');
            const what = `${JSON.stringify(candidate)} over ${JSON.stringify(stored)}`;
            expectEqual(await getKey(alice, version, '!r:x', id), expected, what);
          }
        }
      }
    },
  },
  {
    name: 'the whole record is replaced',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', {
        ...key(5),
        only: 'old',
        session_data: { old: 1, both: 1 },
      });
      const better = { ...key(4), more: ['new'], session_data: { new: 1, both: 2 } };
      await putKey(alice, version, '!r:x', 's', better);
      expectEqual(await getKey(alice, version, '!r:x', 's'), better, 'the key');
    },
  },
  {
    name: 'the etag changes when and only when keys changed, and count is the number of keys',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const etags = new Set([(await readVersion(alice)).etag]);
      const changed = async (
        count: number,
        call: Promise<{ etag: string; count: number }>,
      ): Promise<void> => {
        const answer = await call;
        expectThat(!etags.has(answer.etag), 'etag: expected a new one after a change');
        etags.add(answer.etag);
        expectEqual(answer.count, count, 'count');
        const { etag, count: counted } = await readVersion(alice);
        expectEqual({ etag, count: counted }, { etag: answer.etag, count }, 'the version');
      };
      const same = async (call: Promise<{ etag: string; count: number }>): Promise<void> => {
        const before = await readVersion(alice);
        const { etag, count } = await call;
        expectEqual(
          { etag, count },
          { etag: before.etag, count: before.count },
          'the answer when nothing changed',
        );
      };
      const remove = async (...ids: string[]): Promise<{ etag: string; count: number }> =>
        expectOk(await alice.call('DELETE', keysPath(version, ...ids)), 'DELETE') as {
          etag: string;
          count: number;
        };
      await changed(2, putKeys(alice, version, { '!r:x': { sessions: { s: key(3), t: key(3) } } }));
      await same(
        putKeys(alice, version, { '!r:x': { sessions: { s: key(3, 0, false, 'tie'), t: key(9) } } }),
      );
      await same(putKeys(alice, version, {}));
      await same(putKeys(alice, version, { '!r:x': { sessions: {} } }));
      await changed(2, putKeys(alice, version, { '!r:x': { sessions: { s: key(2), t: key(9) } } }));
      await changed(3, putKey(alice, version, '!q:x', 's', key()));
      await same(remove('!r:x', 'none'));
      await same(remove('!none:x'));
      await changed(2, remove('!r:x', 's'));
      await changed(1, remove('!q:x'));
      await changed(0, remove());
      await same(remove());
      expectEqual(await getKeys(alice, version), { rooms: {} }, 'GET /keys');
    },
  },
  {
    name: 'keys may be deleted from any existing version',
    run: async ({ alice }) => {
      const older = await newVersion(alice);
      await putKeys(alice, older, { '!r:x': { sessions: { s: key(), t: key() } } });
      await newVersion(alice);
      const left = expectOk(
        await alice.call('DELETE', keysPath(older, '!r:x', 's')),
        'DELETE in an older version',
      );
      expectEqual((left as { count: unknown }).count, 1, 'count');
      for (const ids of [[], ['!r:x'], ['!r:x', 's']]) {
        const answer = await alice.call('DELETE', keysPath('none', ...ids));
        expectError(answer, 404, 'M_NOT_FOUND', 'DELETE in an unknown version');
      }
    },
  },
  {
    name: 'a batch is all or nothing, and the error names room and session',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const { etag } = await readVersion(alice);
      const wrong: readonly Record<string, unknown>[] = [
        { first_message_index: -1 },
        { first_message_index: 1.5 },
        { first_message_index: '0' },
        { forwarded_count: null },
        { forwarded_count: 2 ** 53 },
        { is_verified: 'false' },
        { is_verified: 0 },
        { session_data: [] },
        { session_data: 'x' },
        { is_verified: undefined },
        { session_data: undefined },
        { first_message_index: undefined },
        { forwarded_count: undefined },
      ];
      for (const fields of wrong) {
        const bad = { ...key(), ...fields };
        const good = { sessions: { good: key() } };
        const rooms = {
          '!first:x': good,
          '!room-name:x': { sessions: { good: key(), 'session-name': bad } },
          '!last:x': good,
        };
        const error = expectError(
          await alice.call('PUT', keysPath(version), { rooms }),
          400,
          'M_BAD_JSON',
          'PUT /keys',
        );
        for (const id of ['!room-name:x', 'session-name', Object.keys(fields)[0]]) {
          expectThat(
            String(error.error).includes(id),
            `error: expected it to name ${id}, got ${String(error.error)}`,
          );
        }
        const room = { sessions: { good: key(), bad } };
        expectError(
          await alice.call('PUT', keysPath(version, '!r:x'), room),
          400,
          'M_BAD_JSON',
          'PUT of a room',
        );
        expectError(
          await alice.call('PUT', keysPath(version, '!r:x', 's'), bad),
          400,
          'M_BAD_JSON',
          'PUT of a key',
        );
      }
      for (const body of [
        {},
        { rooms: [] },
        { rooms: { '!r:x': {} } },
        { rooms: { '!r:x': { sessions: [] } } },
        [],
        null,
      ]) {
        expectError(
          await alice.call('PUT', keysPath(version), body),
          400,
          'M_BAD_JSON',
          `PUT ${JSON.stringify(body)}`,
        );
      }
      const after = await readVersion(alice);
      expectEqual([after.count, after.etag], [0, etag], 'count and etag');
      expectEqual(await getKeys(alice, version), { rooms: {} }, 'GET /keys');
    },
  },
];

function marked(rank: KeyRank, mark: string): unknown {
  return key(rank.first_message_index, rank.forwarded_count, rank.is_verified, mark);
}
