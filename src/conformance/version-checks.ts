import { ALGORITHM, authData, key, keysPath, versionPath } from './backup.js';
import { recommendation, specification, type Check } from './check.js';
import { expectEqual, expectError, expectOk, expectRejected, expectThat } from './server-under-test.js';

const POST = 'Server-side key backups, POST /room_keys/version';
const GET = 'Server-side key backups, GET /room_keys/version';
const GET_ONE = 'Server-side key backups, GET /room_keys/version/{version}';
const PUT = 'Server-side key backups, PUT /room_keys/version/{version}';
const DELETE = 'Server-side key backups, DELETE /room_keys/version/{version}';

/** An update of a version, and what it changes `auth_data` to. */
const auth_data = authData('B');
const UPDATE = { algorithm: ALGORITHM, auth_data };

/** Checks of versions. */
export const VERSION_CHECKS: readonly Check[] = [
  ...specification(POST, {
    'a version id is a string': ({ version }) => {
      expectThat(typeof version === 'string', `version: expected a string, got a ${typeof version}`);
    },
    'a new version needs an algorithm and an auth_data': async ({ alice }) => {
      for (const body of [{}, { algorithm: ALGORITHM }, { auth_data }]) {
        await expectRejected(alice.call('POST', '/version', body), undefined, JSON.stringify(body));
      }
    },
    'a new version with a field of another type is rejected': async ({ alice }) => {
      for (const body of [
        { algorithm: 1, auth_data },
        { algorithm: ALGORITHM, auth_data: [] },
        { algorithm: ALGORITHM, auth_data: 'x' },
      ]) {
        await expectRejected(alice.call('POST', '/version', body), undefined, JSON.stringify(body));
      }
    },
  }),
  ...recommendation('clients remember "backed up in version 1", also when another server gave that id', {
    'a version id cannot be guessed': ({ version }) => {
      expectThat(!/^\d{1,9}$/.test(version), 'version: expected no small integer, got one');
    },
  }),
  ...recommendation('an id is opaque, so another spelling is another id', {
    'another spelling of a version id is not found': async ({ alice, version }) => {
      for (const other of [`0${version}`, `${version} `]) {
        await expectError(alice.call('GET', versionPath(other)), 404, 'M_NOT_FOUND');
      }
    },
  }),
  ...recommendation('a client would take a new backup for the one that it has written to', {
    'a version id is never used again, also after deletion': async ({ alice, version: first }) => {
      const seen = new Set([first]);
      for (let i = 0; i < 5; i++) {
        const version = await alice.newVersion();
        expectThat(!seen.has(version), 'a version id came a second time');
        seen.add(version);
        await alice.deleteVersion(version);
      }
    },
  }),
  ...recommendation('algorithms of the future then need no new server', {
    'any algorithm is accepted': async ({ alice }) => {
      for (const algorithm of ['org.example.any', '', 'ü 😀', 'a\0b', '__proto__']) {
        const version = await alice.newVersion({}, algorithm);
        expectEqual((await alice.readVersion(version)).algorithm, algorithm, 'algorithm');
      }
    },
  }),
  ...specification(GET_ONE, {
    'a version comes back as it was made, with count and etag': async ({ alice, version }) => {
      const info = await alice.readVersion(version);
      const { etag } = info;
      const made = { algorithm: ALGORITHM, auth_data: authData(), version, count: 0, etag };
      expectEqual(info, made, 'the version');
      expectThat(typeof etag === 'string', `etag: expected a string, got a ${typeof etag}`);
      expectEqual(await alice.readVersion(), info, 'the current version');
    },
  }),
  ...recommendation('signatures cover every field of auth_data', {
    'unknown fields of auth_data come back': async ({ alice }) => {
      const extended = { ...authData(), later: [1, { '': null }] };
      const version = await alice.newVersion(extended);
      expectEqual((await alice.readVersion(version)).auth_data, extended, 'auth_data');
    },
  }),
  ...specification(GET, {
    'without a backup there is no current version': async ({ alice }) => {
      await alice.deleteVersions();
      await expectError(alice.call('GET', '/version'), 404, 'M_NOT_FOUND');
    },
    'the newest version is the current one': async ({ alice, version: first }) => {
      const second = await alice.newVersion();
      expectEqual((await alice.readVersion()).version, second, 'the current version');
      expectEqual((await alice.readVersion(first)).version, first, 'the older version');
    },
    'when the current version is deleted the one before is the latest': async ({ alice }) => {
      await alice.deleteVersions();
      const first = await alice.newVersion();
      await alice.putKey(first, '!r:x', 's', key());
      const middle = await alice.newVersion();
      const last = await alice.newVersion();
      await alice.deleteVersion(middle);
      expectEqual((await alice.readVersion()).version, last, 'the current version');
      await alice.deleteVersion(last);
      const current = await alice.readVersion();
      expectEqual([current.version, current.count], [first, 1], 'the current version');
    },
  }),
  ...recommendation('a user who deletes a new backup goes on with the one before', {
    'a version that is current again is writable again': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      await alice.deleteVersion(await alice.newVersion());
      const { count } = await alice.putKeys(version, { '!r:x': { sessions: { t: key() } } });
      expectEqual(count, 2, 'count');
      const rooms = { '!r:x': { sessions: { s: key(), t: key() } } };
      expectEqual(await alice.getKeys(version), { rooms }, 'keys');
    },
  }),
  ...specification(PUT, {
    'updating a version changes auth_data only': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      const { etag: _, ...before } = await alice.readVersion(version);
      for (const body of [UPDATE, { ...UPDATE, version }]) {
        await expectOk(alice.call('PUT', versionPath(version), body));
        const { etag: _, ...after } = await alice.readVersion(version);
        expectEqual(after, { ...before, auth_data }, 'the version');
      }
    },
    'an update with another algorithm is rejected': async ({ alice, version }) => {
      const before = await alice.readVersion(version);
      const body = { ...UPDATE, algorithm: 'org.example.other' };
      await expectError(alice.call('PUT', versionPath(version), body), 400, 'M_INVALID_PARAM');
      expectEqual(await alice.readVersion(version), before, 'the version');
    },
    'an update whose body names another version is rejected': async ({ alice, version }) => {
      const before = await alice.readVersion(version);
      const body = { ...UPDATE, version: `${version}1` };
      await expectError(alice.call('PUT', versionPath(version), body), 400, 'M_INVALID_PARAM');
      expectEqual(await alice.readVersion(version), before, 'the version');
    },
    'an update without auth_data is rejected': async ({ alice, version }) => {
      const before = await alice.readVersion(version);
      await expectRejected(alice.call('PUT', versionPath(version), { algorithm: ALGORITHM }));
      expectEqual(await alice.readVersion(version), before, 'the version');
    },
    'an update of an unknown or deleted version is 404': async ({ alice, version }) => {
      await alice.deleteVersion(version);
      for (const id of [version, 'none']) {
        await expectError(alice.call('PUT', versionPath(id), UPDATE), 404, 'M_NOT_FOUND');
      }
    },
    'an older version may be updated': async ({ alice, version: older }) => {
      const newer = await alice.newVersion();
      await expectOk(alice.call('PUT', versionPath(older), UPDATE));
      expectEqual((await alice.readVersion(older)).auth_data, auth_data, 'auth_data');
      expectEqual((await alice.readVersion(newer)).auth_data, authData(), 'auth_data of the newer one');
    },
  }),
  ...recommendation('the etag stands for the keys: clients would take it for a change of keys', {
    'updating a version does not change the etag': async ({ alice, version }) => {
      const { etag } = await alice.readVersion(version);
      await expectOk(alice.call('PUT', versionPath(version), UPDATE));
      expectEqual((await alice.readVersion(version)).etag, etag, 'etag');
    },
  }),
  ...specification(DELETE, {
    'deleting a version deletes it and its keys': async ({ alice, version }) => {
      await alice.putKey(version, '!r:x', 's', key());
      await alice.deleteVersion(version);
      for (const path of [
        versionPath(version),
        keysPath(version),
        keysPath(version, '!r:x'),
        keysPath(version, '!r:x', 's'),
      ]) {
        await expectError(alice.call('GET', path), 404, 'M_NOT_FOUND');
      }
    },
    'deleting a deleted version succeeds': async ({ alice, version }) => {
      for (let i = 0; i < 2; i++) await alice.deleteVersion(version);
    },
    'deleting a version that never existed is 404': async ({ alice }) => {
      await expectError(alice.call('DELETE', '/version/none'), 404, 'M_NOT_FOUND');
    },
  }),
];
