import type { KeysChanged, VersionInfo } from '../wire/types.js';
import { expectOk, type User } from './server-under-test.js';

/** The one algorithm that the specification lets every server take. */
export const ALGORITHM = 'm.megolm_backup.v1.curve25519-aes-sha2';

/** An `auth_data`; unlike others by `mark`, one character. */
export function authData(mark = 'A'): Readonly<Record<string, unknown>> {
  const public_key = `hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066Spjqqb${mark}mo`;
  return { public_key, signatures: { '@a:example.org': { 'ed25519:DEVICE': 'A'.repeat(86) } } };
}

/** A key of that rank. */
export function key(
  first_message_index = 0,
  forwarded_count = 0,
  is_verified = false,
  ciphertext: unknown = 'AAAA',
): Readonly<Record<string, unknown>> {
  return {
    first_message_index,
    forwarded_count,
    is_verified,
    session_data: { ephemeral: 'A'.repeat(43), ciphertext, mac: 'A'.repeat(11) },
  };
}

/** Makes a version and returns its id. */
export async function newVersion(
  user: User,
  auth_data: unknown = authData(),
  algorithm = ALGORITHM,
): Promise<string> {
  const body = expectOk(await user.call('POST', '/version', { algorithm, auth_data }), 'POST /version');
  return (body as { version: string }).version;
}

/** Where a version is. */
export function versionPath(version: string): string {
  return `/version/${encodeURIComponent(version)}`;
}

/** The current version, or another one. */
export async function readVersion(user: User, version?: string): Promise<VersionInfo> {
  const path = version === undefined ? '/version' : versionPath(version);
  return expectOk(await user.call('GET', path), `GET ${path}`) as VersionInfo;
}

/** Where keys are: all of them, a room's, or one. */
export function keysPath(version: string | undefined, ...ids: readonly string[]): string {
  const path = ['/keys', ...ids.map((id) => encodeURIComponent(id))].join('/');
  return version === undefined ? path : `${path}?version=${encodeURIComponent(version)}`;
}

/** Stores one key. */
export async function putKey(
  user: User,
  version: string,
  room: string,
  session: string,
  data: unknown,
): Promise<KeysChanged> {
  return expectOk(await user.call('PUT', keysPath(version, room, session), data), 'PUT a key') as KeysChanged;
}

/** Reads one key. */
export async function getKey(user: User, version: string, room: string, session: string): Promise<unknown> {
  return expectOk(await user.call('GET', keysPath(version, room, session)), 'GET a key');
}

/** Stores a batch. */
export async function putKeys(user: User, version: string, rooms: unknown): Promise<KeysChanged> {
  return expectOk(await user.call('PUT', keysPath(version), { rooms }), 'PUT /keys') as KeysChanged;
}

/** Reads everything. */
export async function getKeys(user: User, version: string): Promise<unknown> {
  return expectOk(await user.call('GET', keysPath(version)), 'GET /keys');
}

/** Deletes every version of a user, the current one first. */
export async function deleteVersions(user: User): Promise<void> {
  for (;;) {
    const answer = await user.call('GET', '/version');
    if (answer.status === 404) return;
    const { version } = expectOk(answer, 'GET /version') as VersionInfo;
    expectOk(await user.call('DELETE', versionPath(version)), 'DELETE /version');
  }
}
