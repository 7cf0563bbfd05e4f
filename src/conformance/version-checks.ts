import type { VersionInfo } from '../api/types.js';
import {
  deleteVersions,
  getKeys,
  key,
  keysPath,
  newVersion,
  putKey,
  putKeys,
  readVersion,
} from './backup.js';
import { expectEqual, expectError, expectOk, expectThat, type Check } from './server-under-test.js';

/** What the specification says of versions. */
export const VERSION_CHECKS: readonly Check[] = [
  {
    name: 'without a backup there is no current version',
    run: async ({ alice }) => {
      await deleteVersions(alice);
      expectError(await alice.call('GET', '/version'), 404, 'M_NOT_FOUND', 'GET /version');
      expectError(await alice.call('GET', '/keys'), 404, 'M_NOT_FOUND', 'GET /keys');
    },
  },
  {
    name: 'version ids are opaque strings nobody can guess',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      expectThat(typeof version === 'string', `version: expected a string, got a ${typeof version}`);
      expectThat(
        !/^\d{1,9}$/.test(version),
        'version: a small integer, which another server may have given too',
      );
      for (const other of [`0${version}`, `${version} `, version.toLowerCase() + 'x']) {
        const answer = await alice.call('GET', `/version/${encodeURIComponent(other)}`);
        expectError(answer, 404, 'M_NOT_FOUND', 'another spelling of a version');
      }
    },
  },
  {
    name: 'version ids are never reused, also after deletion',
    run: async ({ alice }) => {
      const seen = new Set<string>();
      for (let i = 0; i < 5; i++) {
        const version = await newVersion(alice);
        expectThat(!seen.has(version), 'a version id came a second time');
        seen.add(version);
        expectOk(await alice.call('DELETE', `/version/${version}`), 'DELETE /version');
      }
    },
  },
  {
    name: 'a version comes back as it was made, with its count and etag',
    run: async ({ alice }) => {
      const auth_data = {
        public_key: 'p',
        signatures: { '@a:b': { 'ed25519:X': 's' } },
        later: [1, { '': null }],
      };
      const version = await newVersion(alice, auth_data, 'org.example.any');
      const info = await readVersion(alice, version);
      expectEqual(
        info,
        { algorithm: 'org.example.any', auth_data, version, count: 0, etag: info.etag },
        'the version',
      );
      expectThat(typeof info.etag === 'string', 'etag: expected a string');
      expectEqual(await readVersion(alice), info, 'the current version');
    },
  },
  {
    name: 'the newest version is the current one',
    run: async ({ alice }) => {
      const first = await newVersion(alice);
      const second = await newVersion(alice);
      expectEqual((await readVersion(alice)).version, second, 'the current version');
      expectEqual((await readVersion(alice, first)).version, first, 'the older version');
    },
  },
  {
    name: 'any algorithm string is accepted',
    run: async ({ alice }) => {
      for (const algorithm of ['', 'm.megolm_backup.v1.curve25519-aes-sha2', 'ü 😀', 'a\0b', '__proto__']) {
        const version = await newVersion(alice, {}, algorithm);
        expectEqual((await readVersion(alice, version)).algorithm, algorithm, 'algorithm');
      }
    },
  },
  {
    name: 'a new version needs an algorithm and an auth_data',
    run: async ({ alice }) => {
      const bodies = [{}, { algorithm: 'a' }, { auth_data: {} }, { algorithm: 1, auth_data: {} }];
      for (const body of [
        ...bodies,
        { algorithm: 'a', auth_data: [] },
        { algorithm: 'a', auth_data: 'x' },
        [],
      ]) {
        const answer = await alice.call('POST', '/version', body);
        expectError(answer, 400, 'M_BAD_JSON', `POST /version ${JSON.stringify(body)}`);
      }
      expectError(await alice.call('POST', '/version', '{'), 400, 'M_NOT_JSON', 'POST /version {');
    },
  },
  {
    name: 'updating a version changes auth_data only, and not the etag',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', key());
      const before = await readVersion(alice, version);
      const auth_data = { public_key: 'q', new: true };
      for (const body of [
        { algorithm: 'a', auth_data },
        { algorithm: 'a', auth_data, version, count: 9, etag: 'z' },
      ]) {
        expectOk(await alice.call('PUT', `/version/${version}`, body), 'PUT /version');
        expectEqual(await readVersion(alice, version), { ...before, auth_data }, 'the version');
      }
    },
  },
  {
    name: 'another algorithm or a body of another version does not update',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      const path = `/version/${version}`;
      const before = await readVersion(alice, version);
      const auth_data = { public_key: 'q' };
      for (const body of [
        { algorithm: 'b', auth_data },
        { algorithm: 'a', auth_data, version: `${version}1` },
      ]) {
        expectError(await alice.call('PUT', path, body), 400, 'M_INVALID_PARAM', 'PUT /version');
      }
      expectError(
        await alice.call('PUT', path, { algorithm: 'a' }),
        400,
        'M_BAD_JSON',
        'PUT /version without auth_data',
      );
      expectEqual(await readVersion(alice, version), before, 'the version');
    },
  },
  {
    name: 'an older version may be updated, an unknown one not',
    run: async ({ alice }) => {
      const older = await newVersion(alice);
      const newer = await newVersion(alice);
      const body = { algorithm: 'a', auth_data: { public_key: 'q' } };
      expectOk(await alice.call('PUT', `/version/${older}`, body), 'PUT of an older version');
      expectEqual((await readVersion(alice, older)).auth_data, body.auth_data, 'auth_data');
      expectEqual(
        (await readVersion(alice, newer)).auth_data,
        { public_key: 'p' },
        'auth_data of the newer one',
      );
      expectOk(await alice.call('DELETE', `/version/${newer}`), 'DELETE /version');
      expectError(
        await alice.call('PUT', `/version/${newer}`, body),
        404,
        'M_NOT_FOUND',
        'PUT of a deleted version',
      );
      expectError(
        await alice.call('PUT', '/version/none', body),
        404,
        'M_NOT_FOUND',
        'PUT of an unknown version',
      );
    },
  },
  {
    name: 'deleting a version deletes its keys; again is 200, never existed 404',
    run: async ({ alice }) => {
      const version = await newVersion(alice);
      await putKey(alice, version, '!r:x', 's', key());
      for (let i = 0; i < 2; i++)
        expectOk(await alice.call('DELETE', `/version/${version}`), 'DELETE /version');
      const paths = [
        `/version/${version}`,
        keysPath(version),
        keysPath(version, '!r:x'),
        keysPath(version, '!r:x', 's'),
      ];
      for (const path of paths) {
        expectError(await alice.call('GET', path), 404, 'M_NOT_FOUND', `GET of a deleted version`);
      }
      expectError(
        await alice.call('DELETE', '/version/none'),
        404,
        'M_NOT_FOUND',
        'DELETE of an unknown version',
      );
    },
  },
  {
    name: 'when the current version is deleted the previous one is current and writable again',
    run: async ({ alice }) => {
      await deleteVersions(alice);
      const first = await newVersion(alice);
      await putKey(alice, first, '!r:x', 's', key());
      const middle = await newVersion(alice);
      const last = await newVersion(alice);
      expectOk(await alice.call('DELETE', `/version/${middle}`), 'DELETE of a version in the middle');
      expectEqual((await readVersion(alice)).version, last, 'the current version');
      expectOk(await alice.call('DELETE', `/version/${last}`), 'DELETE of the current version');
      const current: VersionInfo = await readVersion(alice);
      expectEqual([current.version, current.count], [first, 1], 'the current version');
      expectEqual((await putKeys(alice, first, { '!r:x': { sessions: { t: key() } } })).count, 2, 'count');
      expectEqual(
        await getKeys(alice, first),
        { rooms: { '!r:x': { sessions: { s: key(), t: key() } } } },
        'keys',
      );
    },
  },
];
