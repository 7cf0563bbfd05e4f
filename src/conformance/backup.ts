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

/** The path of a version. */
export function versionPath(version: string): string {
  return `/version/${encodeURIComponent(version)}`;
}

/** The path of keys: all of them, a room's, or one. */
export function keysPath(version: string | undefined, ...ids: readonly string[]): string {
  const path = ['/keys', ...ids.map((id) => encodeURIComponent(id))].join('/');
  return version === undefined ? path : `${path}?version=${encodeURIComponent(version)}`;
}

/** The three paths that keys are written to, all keys first, with a body for each. */
export function writes(data: unknown = key()): [(version: string | undefined) => string, unknown][] {
  return [
    [(version) => keysPath(version), { rooms: { '!r:x': { sessions: { s: data } } } }],
    [(version) => keysPath(version, '!r:x'), { sessions: { s: data } }],
    [(version) => keysPath(version, '!r:x', 's'), data],
  ];
}
