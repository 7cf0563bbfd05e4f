import type { VersionInfo } from '../wire/types.js';
import {
  ALGORITHM,
  authData,
  deleteVersions,
  getKeys,
  key,
  keysPath,
  newVersion,
  putKey,
  putKeys,
  readVersion,
  versionPath,
} from './backup.js';
import {
  expectEqual,
  expectError,
  expectOk,
  expectRefused,
  expectThat,
  recommendation,
  specification,
  type Check,
} from './server-under-test.js';

const POST = 'Server-side key backups, POST /room_keys/version';
const GET = 'Server-side key backups, GET /room_keys/version';
const GET_ONE = 'Server-side key backups, GET /room_keys/version/{version}';
const PUT = 'Server-side key backups, PUT /room_keys/version/{version}';
const DELETE = 'Server-side key backups, DELETE /room_keys/version/{version}';

/** Checks of versions. */
export const VERSION_CHECKS: readonly Check[] = [
  specification(GET, 'without a backup there is no current version', async ({ alice }) => {
    await deleteVersions(alice);
    expectError(await alice.call('GET', '/version'), 404, 'M_NOT_FOUND', 'GET /version');
  }),
  specification(POST, 'a version id is a string', async ({ alice }) => {
    const version: unknown = await newVersion(alice);
    expectThat(typeof version === 'string', `version: expected a string, got a ${typeof version}`);
  }),
  recommendation(
    'clients remember "backed up in version 1", also when another server gave that id',
    'a version id cannot be guessed',
    async ({ alice }) => {
      expectThat(!/^\d{1,9}$/.test(await newVersion(alice)), 'version: expected no small integer, got one');
    },
  ),
  recommendation(
    'an id is opaque, so another spelling is another id',
    'another spelling of a version id is not found',
    async ({ alice }) => {
      const version = await newVersion(alice);
      for (const other of [`0${version}`, `${version} `]) {
        const answer = await alice.call('GET', versionPath(other));
        expectError(answer, 404, 'M_NOT_FOUND', `GET /version/${other}`);
      }
    },
  ),
  recommendation(
    'a client would take a new backup for the one that it has written to',
    'a version id is never used again, also after deletion',
    async ({ alice }) => {
      const seen = new Set<string>();
      for (let i = 0; i < 5; i++) {
        const version = await newVersion(alice);
        expectThat(!seen.has(version), 'a version id came a second time');
        seen.add(version);
        expectOk(await alice.call('DELETE', versionPath(version)), 'DELETE /version');
      }
    },
  ),
  specification(GET_ONE, 'a version comes back as it was made, with count and etag', async ({ alice }) => {
    const version = await newVersion(alice);
    const info = await readVersion(alice, version);
    const { etag } = info;
    expectEqual(
      info,
      { algorithm: ALGORITHM, auth_data: authData(), version, count: 0, etag },
      'the version',
    );
    expectThat(typeof etag === 'string', `etag: expected a string, got a ${typeof etag}`);
    expectEqual(await readVersion(alice), info, 'the current version');
  }),
  recommendation(
    'signatures cover every field of auth_data',
    'unknown fields of auth_data come back',
    async ({ alice }) => {
      const auth_data = { ...authData(), later: [1, { '': null }] };
      const version = await newVersion(alice, auth_data);
      expectEqual((await readVersion(alice, version)).auth_data, auth_data, 'auth_data');
    },
  ),
  specification(GET, 'the newest version is the current one', async ({ alice }) => {
    const first = await newVersion(alice);
    const second = await newVersion(alice);
    expectEqual((await readVersion(alice)).version, second, 'the current version');
    expectEqual((await readVersion(alice, first)).version, first, 'the older version');
  }),
  recommendation(
    'algorithms of the future then need no new server',
    'any algorithm is accepted',
    async ({ alice }) => {
      for (const algorithm of ['org.example.any', '', 'ü 😀', 'a\0b', '__proto__']) {
        const version = await newVersion(alice, {}, algorithm);
        expectEqual((await readVersion(alice, version)).algorithm, algorithm, 'algorithm');
      }
    },
  ),
  specification(POST, 'a new version needs an algorithm and an auth_data', async ({ alice }) => {
    for (const body of [{}, { algorithm: ALGORITHM }, { auth_data: authData() }]) {
      expectRefused(await alice.call('POST', '/version', body), `POST /version ${JSON.stringify(body)}`);
    }
  }),
  specification(POST, 'a new version with a field of another type is refused', async ({ alice }) => {
    for (const [algorithm, auth_data] of [
      [1, authData()],
      [ALGORITHM, []],
      [ALGORITHM, 'x'],
    ]) {
      const body = { algorithm, auth_data };
      expectRefused(await alice.call('POST', '/version', body), `POST /version ${JSON.stringify(body)}`);
    }
  }),
  specification(PUT, 'updating a version changes auth_data only', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    const { etag: _, ...before } = await readVersion(alice, version);
    const auth_data = authData('B');
    for (const body of [
      { algorithm: ALGORITHM, auth_data },
      { algorithm: ALGORITHM, auth_data, version },
    ]) {
      expectOk(await alice.call('PUT', versionPath(version), body), 'PUT /version');
      const { etag: _, ...after } = await readVersion(alice, version);
      expectEqual(after, { ...before, auth_data }, 'the version');
    }
  }),
  recommendation(
    'the etag stands for the keys: clients would take it for a change of keys',
    'updating a version does not change the etag',
    async ({ alice }) => {
      const version = await newVersion(alice);
      const { etag } = await readVersion(alice, version);
      const body = { algorithm: ALGORITHM, auth_data: authData('B') };
      expectOk(await alice.call('PUT', versionPath(version), body), 'PUT /version');
      expectEqual((await readVersion(alice, version)).etag, etag, 'etag');
    },
  ),
  specification(PUT, 'an update with another algorithm is refused', async ({ alice }) => {
    const version = await newVersion(alice);
    const before = await readVersion(alice, version);
    const body = { algorithm: 'org.example.other', auth_data: authData('B') };
    const answer = await alice.call('PUT', versionPath(version), body);
    expectError(answer, 400, 'M_INVALID_PARAM', 'PUT /version');
    expectEqual(await readVersion(alice, version), before, 'the version');
  }),
  specification(PUT, 'an update whose body names another version is refused', async ({ alice }) => {
    const version = await newVersion(alice);
    const before = await readVersion(alice, version);
    const body = { algorithm: ALGORITHM, auth_data: authData('B'), version: `${version}1` };
    const answer = await alice.call('PUT', versionPath(version), body);
    expectError(answer, 400, 'M_INVALID_PARAM', 'PUT /version');
    expectEqual(await readVersion(alice, version), before, 'the version');
  }),
  specification(PUT, 'an update without auth_data is refused', async ({ alice }) => {
    const version = await newVersion(alice);
    const before = await readVersion(alice, version);
    const answer = await alice.call('PUT', versionPath(version), { algorithm: ALGORITHM });
    expectRefused(answer, 'PUT /version');
    expectEqual(await readVersion(alice, version), before, 'the version');
  }),
  specification(PUT, 'an update of an unknown or deleted version is 404', async ({ alice }) => {
    const version = await newVersion(alice);
    expectOk(await alice.call('DELETE', versionPath(version)), 'DELETE /version');
    const body = { algorithm: ALGORITHM, auth_data: authData('B') };
    for (const id of [version, 'none']) {
      const answer = await alice.call('PUT', versionPath(id), body);
      expectError(answer, 404, 'M_NOT_FOUND', `PUT /version/${id}`);
    }
  }),
  specification(PUT, 'an older version may be updated', async ({ alice }) => {
    const older = await newVersion(alice);
    const newer = await newVersion(alice);
    const auth_data = authData('B');
    const answer = await alice.call('PUT', versionPath(older), { algorithm: ALGORITHM, auth_data });
    expectOk(answer, 'PUT of an older version');
    expectEqual((await readVersion(alice, older)).auth_data, auth_data, 'auth_data');
    expectEqual((await readVersion(alice, newer)).auth_data, authData(), 'auth_data of the newer one');
  }),
  specification(DELETE, 'deleting a version deletes it and its keys', async ({ alice }) => {
    const version = await newVersion(alice);
    await putKey(alice, version, '!r:x', 's', key());
    expectOk(await alice.call('DELETE', versionPath(version)), 'DELETE /version');
    for (const path of [
      versionPath(version),
      keysPath(version),
      keysPath(version, '!r:x'),
      keysPath(version, '!r:x', 's'),
    ]) {
      expectError(await alice.call('GET', path), 404, 'M_NOT_FOUND', `GET ${path} of a deleted version`);
    }
  }),
  specification(DELETE, 'deleting a deleted version succeeds', async ({ alice }) => {
    const version = await newVersion(alice);
    for (let i = 0; i < 2; i++) expectOk(await alice.call('DELETE', versionPath(version)), 'DELETE /version');
  }),
  specification(DELETE, 'deleting a version that never existed is 404', async ({ alice }) => {
    expectError(await alice.call('DELETE', '/version/none'), 404, 'M_NOT_FOUND', 'DELETE /version/none');
  }),
  specification(
    GET,
    'when the current version is deleted the one before is the latest',
    async ({ alice }) => {
      await deleteVersions(alice);
      const first = await newVersion(alice);
      await putKey(alice, first, '!r:x', 's', key());
      const middle = await newVersion(alice);
      const last = await newVersion(alice);
      expectOk(await alice.call('DELETE', versionPath(middle)), 'DELETE of a version in the middle');
      expectEqual((await readVersion(alice)).version, last, 'the current version');
      expectOk(await alice.call('DELETE', versionPath(last)), 'DELETE of the current version');
      const current: VersionInfo = await readVersion(alice);
      expectEqual([current.version, current.count], [first, 1], 'the current version');
    },
  ),
  recommendation(
    'a user who deletes a new backup goes on with the one before',
    'a version that is current again is writable again',
    async ({ alice }) => {
      const first = await newVersion(alice);
      await putKey(alice, first, '!r:x', 's', key());
      const last = await newVersion(alice);
      expectOk(await alice.call('DELETE', versionPath(last)), 'DELETE of the current version');
      expectEqual((await putKeys(alice, first, { '!r:x': { sessions: { t: key() } } })).count, 2, 'count');
      const rooms = { '!r:x': { sessions: { s: key(), t: key() } } };
      expectEqual(await getKeys(alice, first), { rooms }, 'keys');
    },
  ),
];
