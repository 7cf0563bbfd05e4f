import { KeyBackupError, describe } from '../errors.js';
import { isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';
import type { MacNames } from './backup-mac.js';

/**
 * What the plaintext of a room key says about where the key comes from: that its writer does not vouch for it
 * (MSC4048), and a copy of the room id. Both count only under a right `backup_mac`, because anyone who knows the
 * public key can write any plaintext.
 *
 * @see https://github.com/matrix-org/matrix-spec-proposals/pull/4048
 */

/** Where a key came from that its writer does not vouch for. Unknown values read as `m.undefined`. */
export type UnauthenticatedSource = 'm.undefined' | 'm.legacy-v1' | 'm.forwarded_room_key';

const SOURCES: readonly unknown[] = ['m.undefined', 'm.legacy-v1', 'm.forwarded_room_key'];

/**
 * What a caller's `unauthenticated` returned.
 *
 * @throws {@link KeyBackupError} `bad-parameters` for anything else, such as the promise of an asynchronous function.
 */
export function expectSource(value: unknown): UnauthenticatedSource | undefined {
  if (value === undefined || SOURCES.includes(value)) return value as UnauthenticatedSource | undefined;
  const expected = 'm.undefined, m.legacy-v1, m.forwarded_room_key or undefined';
  throw new KeyBackupError('bad-parameters', `unauthenticated: expected ${expected}, got ${describe(value)}`);
}

/** The field with the copy of the room id: this package's own, ignored by other readers. */
export const ROOM_ID_COPY = 'org.megolm-backup.room_id';

const UNAUTHENTICATED: Readonly<Record<MacNames, string>> = {
  unstable: 'org.matrix.msc4048.unauthenticated',
  stable: 'unauthenticated',
};

/** What to write into a plaintext. */
export interface Statement {
  /** The writer does not vouch for the key. It replaces what the session says of itself. */
  readonly source?: UnauthenticatedSource | undefined;
  /** Adds the copy of the room id. */
  readonly bindRoomId?: boolean | undefined;
  readonly names?: MacNames | undefined;
}

/**
 * A session with this provenance instead of what it carried.
 *
 * A declaration that the session brings along stays when no other is given: leaving something
 * out vouches for nothing. A copy of a room id that it brings along always goes.
 *
 * @returns The session itself when there is nothing to change, else a new object. What is no session passes
 * through, for the check that follows.
 */
export function withProvenance<T>(session: T, { source, bindRoomId = false, names }: Statement): T {
  if (!isJsonObject(session)) return session;
  if (source === undefined && !bindRoomId && !Object.hasOwn(session, ROOM_ID_COPY)) return session;
  const { [ROOM_ID_COPY]: _copy, ...rest } = session;
  const stripped = source === undefined ? rest : withoutDeclaration(rest);
  const declaration = source === undefined ? {} : { [UNAUTHENTICATED[names ?? 'unstable']]: source };
  const copy = bindRoomId ? { [ROOM_ID_COPY]: ownValue(session, 'room_id') } : {};
  return { ...stripped, ...declaration, ...copy } as T;
}

function withoutDeclaration(session: JsonObject): JsonObject {
  const { [UNAUTHENTICATED.stable]: _stable, [UNAUTHENTICATED.unstable]: _unstable, ...rest } = session;
  return rest;
}

/**
 * What the writer of a plaintext declared, under either name; `undefined` when it vouches for the key. Any value
 * is a declaration, `null` and `false` too: only its absence vouches.
 */
export function readUnauthenticated(plaintext: JsonObject): UnauthenticatedSource | undefined {
  const values = [UNAUTHENTICATED.stable, UNAUTHENTICATED.unstable]
    .filter((name) => Object.hasOwn(plaintext, name))
    .map((name) => plaintext[name]);
  if (values.length === 0) return undefined;
  const known = values.find((value) => value === 'm.legacy-v1' || value === 'm.forwarded_room_key');
  return known ?? 'm.undefined';
}
