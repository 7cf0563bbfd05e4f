import type { KeysChanged, VersionInfo } from '../wire/types.js';
import { expectOk, type User } from './server-under-test.js';

/** The algorithm of the specification: a server may reject any other. */
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
) {
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
  const body = await expectOk(user.call('POST', '/version', { algorithm, auth_data }));
  return (body as { version: string }).version;
}

/** The path of a version. */
export function versionPath(version: string): string {
  return `/version/${encodeURIComponent(version)}`;
}

/** The current version, or another one. */
export async function readVersion(user: User, version?: string): Promise<VersionInfo> {
  const path = version === undefined ? '/version' : versionPath(version);
  return (await expectOk(user.call('GET', path))) as VersionInfo;
}

/** The path of keys: all of them, a room's, or one. */
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
  return (await expectOk(user.call('PUT', keysPath(version, room, session), data))) as KeysChanged;
}

/** Stores a batch. */
export async function putKeys(user: User, version: string, rooms: unknown): Promise<KeysChanged> {
  return (await expectOk(user.call('PUT', keysPath(version), { rooms }))) as KeysChanged;
}

/** Reads everything, a room, or one key. */
export function getKeys(user: User, version: string, ...ids: readonly string[]): Promise<unknown> {
  return expectOk(user.call('GET', keysPath(version, ...ids)));
}

/** Deletes everything, a room, or one key. */
export async function deleteKeys(
  user: User,
  version: string,
  ...ids: readonly string[]
): Promise<KeysChanged> {
  return (await expectOk(user.call('DELETE', keysPath(version, ...ids)))) as KeysChanged;
}

/** Deletes a version. */
export function deleteVersion(user: User, version: string): Promise<unknown> {
  return expectOk(user.call('DELETE', versionPath(version)));
}

/** Deletes every version of a user, the current one first. */
export async function deleteVersions(user: User): Promise<void> {
  for (;;) {
    const answer = await user.call('GET', '/version');
    if (answer.status === 404) return;
    const { version } = (await expectOk(answer)) as VersionInfo;
    await deleteVersion(user, version);
  }
}

/** The three paths that keys are written to, all keys first, with a body for each. */
export function writes(data: unknown = key()): [(version: string | undefined) => string, unknown][] {
  return [
    [(version) => keysPath(version), { rooms: { '!r:x': { sessions: { s: data } } } }],
    [(version) => keysPath(version, '!r:x'), { sessions: { s: data } }],
    [(version) => keysPath(version, '!r:x', 's'), data],
  ];
}
