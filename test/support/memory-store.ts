/* eslint-disable @typescript-eslint/require-await -- the model is synchronous, the interface is not */
import { utf8Decode } from '../../src/encoding/utf8.js';
import { replaces } from '../../src/formats/replacement.js';
import type {
  BackupStore,
  KeyOrigin,
  KeyPosition,
  KeyScope,
  KeyToWrite,
  Quota,
  Replacement,
  RoomPage,
} from '../../src/server/store.js';
import { ENTRY_BYTES, idBytes, newVersionId, pageLimit } from '../../src/server/store.js';

interface Version {
  version: string;
  algorithm: string;
  auth_data: string;
  etag: number;
  deleted: boolean;
  keys: Map<string, Stored>;
}
type Stored = Omit<KeyToWrite, 'data'> & { data: string; device_id?: string };

/** The store as the specification tells it, with nothing but arrays and maps: what the others are compared to. */
export function createMemoryStore(): BackupStore {
  const users = new Map<string, Version[]>();
  const trail: Replacement[] = [];
  let entries = 0;
  const versionsOf = (user: string): Version[] => users.get(user) ?? [];
  const find = (user: string, version: string): Version | undefined =>
    versionsOf(user).find((v) => v.version === version && !v.deleted);
  const currentOf = (user: string): Version | undefined =>
    versionsOf(user)
      .filter((v) => !v.deleted)
      .at(-1);
  const idOf = (key: KeyPosition): string => JSON.stringify([key.room_id, key.session_id]);
  const size = (text: string): number => Buffer.byteLength(text);
  const keySize = (key: Stored): number => idBytes(key.room_id, key.session_id) + size(key.data);
  const entrySize = ({ room_id, session_id, before, after }: Replacement): number =>
    idBytes(room_id, session_id, before.device_id ?? '', after.device_id ?? '') + ENTRY_BYTES;
  const over = (user: string, quota: Quota, added: Replacement[] = []): keyof Quota | undefined => {
    const versions = versionsOf(user).filter((v) => !v.deleted);
    const held = {
      versions: versions.length,
      keys: versions.reduce((sum, v) => sum + v.keys.size, 0),
      bytes:
        versions.reduce(
          (sum, v) => sum + size(v.auth_data) + [...v.keys.values()].reduce((s, k) => s + keySize(k), 0),
          0,
        ) +
        [...trail.filter((entry) => entry.user_id === user), ...added].reduce((s, e) => s + entrySize(e), 0),
    };
    return (['versions', 'keys', 'bytes'] as const).find((of) => held[of] > (quota[of] ?? Infinity));
  };
  const changed = (v: Version) => ({ outcome: 'changed', etag: String(v.etag), count: v.keys.size }) as const;
  const unknown = { outcome: 'unknown-version' } as const;
  const origin = (key: Stored): KeyOrigin => ({
    is_verified: key.is_verified,
    first_message_index: key.first_message_index,
    forwarded_count: key.forwarded_count,
    ...(key.device_id === undefined ? {} : { device_id: key.device_id }),
  });
  const inScope = (key: KeyPosition, scope: KeyScope): boolean =>
    (scope.room_id === undefined || scope.room_id === key.room_id) &&
    (scope.session_id === undefined || scope.session_id === key.session_id);
  const bytewise = (a: KeyPosition, b: KeyPosition): number =>
    Buffer.compare(Buffer.from(a.room_id), Buffer.from(b.room_id)) ||
    Buffer.compare(Buffer.from(a.session_id), Buffer.from(b.session_id));

  return {
    createVersion: async (user, content, quota) => {
      const made: Version = { ...content, version: newVersionId(), etag: 0, deleted: false, keys: new Map() };
      const before = versionsOf(user);
      users.set(user, [...before, made]);
      const of = over(user, quota);
      if (of) users.set(user, before);
      return of ? { outcome: 'over-quota', of } : { outcome: 'created', version: made.version };
    },
    readVersion: async (user, version) => {
      const v = version === undefined ? currentOf(user) : find(user, version);
      return (
        v && {
          version: v.version,
          algorithm: v.algorithm,
          auth_data: v.auth_data,
          etag: String(v.etag),
          count: v.keys.size,
        }
      );
    },
    updateVersion: async (user, version, content, quota) => {
      const v = find(user, version);
      if (!v) return unknown;
      if (v.algorithm !== content.algorithm) return { outcome: 'other-algorithm' };
      const before = v.auth_data;
      v.auth_data = content.auth_data;
      const of = over(user, { bytes: quota.bytes });
      if (of) v.auth_data = before;
      return of ? { outcome: 'over-quota', of } : { outcome: 'done' };
    },
    deleteVersion: async (user, version) => {
      const v = versionsOf(user).find((other) => other.version === version);
      if (!v) return unknown;
      Object.assign(v, { deleted: true, keys: new Map() });
      return { outcome: 'done' };
    },
    writeKeys: async (user, version, keys, quota, writer) => {
      const v = find(user, version);
      if (!v) return unknown;
      const current = currentOf(user)!;
      if (v !== current) return { outcome: 'wrong-version', current_version: current.version };
      const before = new Map(v.keys);
      const replaced: Replacement[] = [];
      let any = false;
      for (const key of keys) {
        const stored = v.keys.get(idOf(key));
        if (stored && !replaces(key, stored)) continue;
        const data = utf8Decode(key.data, 'the key');
        const written = { ...key, data, ...(writer === undefined ? {} : { device_id: writer }) };
        v.keys.set(idOf(key), written);
        any = true;
        const { room_id, session_id } = key;
        if (stored) {
          replaced.push({
            id: 0,
            time: Date.now(),
            user_id: user,
            version,
            room_id,
            session_id,
            before: origin(stored),
            after: origin(written),
          });
        }
      }
      if (!any) return changed(v);
      const of = over(user, { keys: quota.keys, bytes: quota.bytes }, replaced);
      if (of) {
        v.keys = before;
        return { outcome: 'over-quota', of };
      }
      for (const entry of replaced) trail.push({ ...entry, id: ++entries });
      v.etag++;
      return changed(v);
    },
    deleteKeys: async (user, version, scope) => {
      const v = find(user, version);
      if (!v) return unknown;
      const before = v.keys.size;
      for (const [id, key] of v.keys) if (inScope(key, scope)) v.keys.delete(id);
      if (v.keys.size < before) v.etag++;
      return changed(v);
    },
    readKey: async (user, version, room_id, session_id) => {
      const v = find(user, version);
      if (!v) return unknown;
      const key = v.keys.get(idOf({ room_id, session_id }));
      return key ? { outcome: 'key', data: key.data } : { outcome: 'unknown-key' };
    },
    readKeys: async (user, version, scope, after, limit) => {
      const v = find(user, version);
      if (!v) return unknown;
      const keys = [...v.keys.values()]
        .sort(bytewise)
        .filter((k) => inScope(k, scope) && (!after || bytewise(k, after) > 0));
      const rooms: RoomPage[] = [];
      const largest = Math.max(0, ...[...v.keys.values()].map((k) => size(k.data)));
      for (const key of keys.slice(0, pageLimit(limit, largest))) {
        const member = `${JSON.stringify(key.session_id)}:${key.data}`;
        const last = rooms.at(-1);
        if (last?.room_id === key.room_id) {
          rooms[rooms.length - 1] = {
            ...last,
            members: `${String(last.members)},${member}`,
            count: last.count + 1,
            last_session_id: key.session_id,
          };
        } else {
          rooms.push({ room_id: key.room_id, members: member, count: 1, last_session_id: key.session_id });
        }
      }
      return { outcome: 'page', rooms };
    },
    readReplacements: async (user, after, limit) =>
      trail.filter((r) => r.user_id === user && r.id > after).slice(0, limit),
    pruneReplacements: async (before) => {
      for (let i = trail.length - 1; i >= 0; i--) if (trail[i].time < before) trail.splice(i, 1);
    },
    eraseUser: async (user) => {
      for (let i = trail.length - 1; i >= 0; i--) if (trail[i].user_id === user) trail.splice(i, 1);
      const known = versionsOf(user).length > 0;
      users.delete(user);
      return known;
    },
    ping: async () => undefined,
    close: async () => undefined,
  };
}
