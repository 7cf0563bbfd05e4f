import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { utf8Encode } from '../../src/encoding/utf8.js';
import { replaces } from '../../src/formats/replacement.js';
import type {
  BackupStore,
  KeyPosition,
  KeyScope,
  KeyToWrite,
  Quota,
  RoomPage,
} from '../../src/server/store.js';
import { ENTRY_BYTES, keyBytes } from '../../src/server/store.js';
import { createMemoryStore } from '../support/memory-store.js';
import { runs } from '../support/runs.js';

/** A store for a test file, and a second view of the same data as another process would have it. */
export interface StoreUnderTest {
  readonly store: BackupStore;
  /** Another store on the same database, where several may use it. */
  readonly second?: BackupStore;
  stop(): Promise<void>;
}

let users = 0;
const newUser = (): string => `@user${++users}_${Math.random()}:x`;
const content = { algorithm: 'a', auth_data: '{}' };
const OVER_BYTES = { outcome: 'over-quota', of: 'bytes' };

export function keyOf(
  room_id: string,
  session_id: string,
  index = 0,
  verified = false,
  mark = 'x',
): KeyToWrite {
  const rank = { first_message_index: index, forwarded_count: 0, is_verified: verified };
  return {
    room_id,
    session_id,
    ...rank,
    data: utf8Encode(JSON.stringify({ ...rank, session_data: { mark } })),
  };
}

export async function newVersion(store: BackupStore, user: string): Promise<string> {
  const created = await store.createVersion(user, content, {});
  if (created.outcome !== 'created') throw new Error(created.outcome);
  return created.version;
}

/** Everything in scope, read page by page: the members of each room. */
export async function readAll(
  store: BackupStore,
  user: string,
  version: string,
  scope: KeyScope = {},
  limit = 256,
): Promise<[string, string, unknown][]> {
  const all: [string, string, unknown][] = [];
  let after: KeyPosition | undefined;
  for (;;) {
    const page = await store.readKeys(user, version, scope, after, limit);
    if (page.outcome !== 'page') throw new Error(page.outcome);
    if (page.rooms.length === 0) return all;
    let count = 0;
    for (const room of page.rooms) {
      const keys = membersOf(room);
      expect(keys).toHaveLength(room.count);
      expect(keys.at(-1)![0]).toBe(room.last_session_id);
      for (const [session, data] of keys) all.push([room.room_id, session, data]);
      count += room.count;
      after = { room_id: room.room_id, session_id: room.last_session_id };
    }
    expect(count).toBeLessThanOrEqual(limit);
  }
}

function membersOf({ members }: RoomPage): [string, unknown][] {
  const text = typeof members === 'string' ? members : new TextDecoder().decode(members);
  // A reviver sees names in the order of the text, integer-like ones too.
  const order: string[] = [];
  const parsed = JSON.parse(`{${text}}`) as Record<string, unknown>;
  for (const match of text.matchAll(/(?:^|,)("(?:[^"\\]|\\.)*"):\{"first_message_index"/g))
    order.push(JSON.parse(match[1]) as string);
  return order.map((name) => [name, parsed[name]]);
}

function lengthOf(texts: readonly Uint8Array[], which: readonly number[]): number {
  return which.reduce((sum, i) => sum + texts[i].length, 0);
}

/** What every store has to do, whatever it is made of. */
export function storeContract(name: string, open: () => Promise<StoreUnderTest | undefined>): void {
  describe(`store contract: ${name}`, () => {
    let opened: StoreUnderTest | undefined;
    let store: BackupStore;
    beforeAll(async () => {
      opened = await open();
      if (opened) store = opened.store;
    }, 120_000);
    afterAll(() => opened?.stop());
    const it = (title: string, run: () => Promise<void>): void => {
      test(title, async ({ skip }) => {
        skip(!opened, 'no such database here');
        await run();
      });
    };

    it('does what the model does, on random sequences of operations', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 30 }), async (operations) => {
          await compareWithModel(store, operations);
        }),
        { numRuns: runs(120) },
      );
    });

    it('hands out keys in byte order, whole rooms together, at every page size', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const ids = [
        '',
        '\0',
        '!',
        '"',
        '\\',
        'A',
        'a',
        'a\0',
        'aa',
        'z',
        '\u007f',
        'é',
        'e\u0301',
        '\uffff',
        '😀',
        '__proto__',
        '1',
        '02',
      ];
      const keys = ids.flatMap((room) => ids.map((session) => keyOf(room, session)));
      await store.writeKeys(user, version, keys, {}, undefined);
      const sorted = [...ids].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      const expected = sorted.flatMap((room) => sorted.map((session) => [room, session]));
      for (const limit of [1, 7, 18, 500]) {
        const all = await readAll(store, user, version, {}, limit);
        expect(all.map(([room, session]) => [room, session])).toEqual(expected);
      }
      for (const room_id of ids) {
        const all = await readAll(store, user, version, { room_id }, 5);
        expect(all.map(([room, session]) => [room, session])).toEqual(
          sorted.map((session) => [room_id, session]),
        );
      }
    });

    it('reads thousands of small rooms', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const keys = Array.from({ length: 3000 }, (_, i) => keyOf(`!${i}:x`, 's', i));
      await store.writeKeys(user, version, keys, {}, undefined);
      // Rooms that became empty do not end the reading.
      for (let i = 0; i < 100; i++)
        await store.deleteKeys(user, version, { room_id: `!1${i}:x`, session_id: 's' });
      const left = await readAll(store, user, version);
      expect(left).toHaveLength((await store.readVersion(user, version))!.count);
      expect(new Set(left.map(([room]) => room)).size).toBe(left.length);
    });

    it('returns large keys a few at a time', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const keys = Array.from({ length: 12 }, (_, i) =>
        keyOf('!r:x', String(i).padStart(2, '0'), 0, false, 'y'.repeat(700_000)),
      );
      await store.writeKeys(user, version, keys, {}, undefined);
      const page = await store.readKeys(user, version, {}, undefined, 256);
      expect(page.outcome === 'page' && page.rooms[0].count).toBeLessThan(4);
      expect(await readAll(store, user, version)).toHaveLength(12);
    });

    it('loses none of 50 parallel writes, and the best copy of each key wins', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const stores = [store, opened?.second ?? store];
      const batches = Array.from({ length: 50 }, (_, i) => [
        ...Array.from({ length: 20 }, (__, k) =>
          keyOf('!shared:x', `s${k}`, (i * 31 + k * 17) % 50, false, `${i}`),
        ),
        keyOf(`!${i % 7}:x`, `own${i}`),
      ]);
      const etags = await Promise.all(
        batches.map(async (batch, i) => {
          const written = await stores[i % 2].writeKeys(user, version, batch, {}, `D${i}`);
          return written.outcome === 'changed' ? written.etag : written.outcome;
        }),
      );
      // Every batch adds a key of its own.
      expect(new Set(etags).size).toBe(50);
      const all = await readAll(store, user, version);
      expect(all).toHaveLength(70);
      expect(await store.readVersion(user, version)).toMatchObject({ count: 70, etag: '50' });
      for (let k = 0; k < 20; k++) {
        const copies = batches.map((batch) => batch[k]);
        const best = copies.reduce((a, b) => (replaces(b, a) ? b : a));
        const found = all.find(([room, session]) => room === '!shared:x' && session === `s${k}`)!;
        expect(found[2]).toMatchObject({ first_message_index: best.first_message_index });
      }
    });

    it('makes versions in parallel, each once', async () => {
      const user = newUser();
      const stores = [store, opened?.second ?? store];
      const made = await Promise.all(Array.from({ length: 20 }, (_, i) => newVersion(stores[i % 2], user)));
      expect(new Set(made).size).toBe(20);
      expect(made).toContain((await store.readVersion(user))!.version);
    });

    it('keeps within quotas, and a write beyond one leaves no trace', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const write = (quota: Quota, ...keys: KeyToWrite[]) =>
        store.writeKeys(user, version, keys, quota, undefined);
      await write({}, keyOf('!r:x', 'a', 5), keyOf('!r:x', 'b', 5));
      expect(await write({ keys: 2 }, keyOf('!r:x', 'a', 4), keyOf('!r:x', 'c'))).toEqual({
        outcome: 'over-quota',
        of: 'keys',
      });
      expect(await write({ bytes: 200 }, keyOf('!r:x', 'a', 4))).toEqual({
        outcome: 'over-quota',
        of: 'bytes',
      });
      expect(await store.createVersion(user, content, { versions: 1 })).toEqual({
        outcome: 'over-quota',
        of: 'versions',
      });
      expect(await store.readVersion(user)).toMatchObject({ version, count: 2, etag: '1' });
      expect((await readAll(store, user, version)).map(([, , data]) => data)).toMatchObject([
        { first_message_index: 5 },
        { first_message_index: 5 },
      ]);
      expect(await store.readReplacements(user, 0, 10)).toEqual([]);
      expect(await write({ keys: 2 }, keyOf('!r:x', 'a', 4))).toMatchObject({
        outcome: 'changed',
        count: 2,
        etag: '2',
      });
      // What was deleted no longer counts.
      await store.deleteKeys(user, version, { room_id: '!r:x', session_id: 'b' });
      expect(await write({ keys: 2, bytes: 600 }, keyOf('!r:x', 'c'))).toMatchObject({
        outcome: 'changed',
        count: 2,
      });
    });

    it('takes new keys up to the quota and none beyond', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const write = (quota: Quota, ...keys: KeyToWrite[]) =>
        store.writeKeys(user, version, keys, quota, undefined);
      const [a, b, c] = ['a', 'b', 'c'].map((session) => keyOf('!r:x', session));
      expect(await write({ keys: 2 }, a)).toMatchObject({ outcome: 'changed', count: 1 });
      expect(await write({ keys: 2 }, b, c)).toEqual({ outcome: 'over-quota', of: 'keys' });
      // A version's `auth_data` counts too.
      const bytes = content.auth_data.length + keyBytes(a) + keyBytes(b);
      expect(await write({ bytes: bytes - 1 }, b)).toEqual({ outcome: 'over-quota', of: 'bytes' });
      expect(await store.readVersion(user)).toMatchObject({ count: 1, etag: '1' });
      expect(await write({ keys: 2, bytes }, b)).toMatchObject({ outcome: 'changed', count: 2, etag: '2' });
    });

    it('counts long ids in the quota', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const outcomes: string[] = [];
      for (let put = 0; put < 12; put++) {
        const keys = Array.from({ length: 90 }, (_, i) =>
          keyOf(`!${'r'.repeat(200)}${put}:x`, `${'é'.repeat(490)}${put}-${i}`),
        );
        outcomes.push((await store.writeKeys(user, version, keys, { bytes: 500_000 }, 'D')).outcome);
      }
      expect(outcomes).toEqual([...Array<string>(4).fill('changed'), ...Array<string>(8).fill('over-quota')]);
      // Deleted, they count no longer: a key, a room, all.
      const scopes = [
        { room_id: `!${'r'.repeat(200)}0:x`, session_id: `${'é'.repeat(490)}0-7` },
        { room_id: `!${'r'.repeat(200)}1:x` },
        {},
      ];
      for (const scope of scopes) await store.deleteKeys(user, version, scope);
      const [a, b] = [keyOf('!é:x', 'a\0'), keyOf('!é:x', 'b')];
      const bytes = content.auth_data.length + keyBytes(a);
      expect(keyBytes(a)).toBe('!é:x'.length + 1 + 'a\0'.length + a.data.length);
      expect(await store.writeKeys(user, version, [a], { bytes: bytes - 1 }, 'D')).toMatchObject(OVER_BYTES);
      expect(await store.writeKeys(user, version, [a], { bytes }, 'D')).toMatchObject({ count: 1 });
      expect(await store.writeKeys(user, version, [b], { bytes }, 'D')).toMatchObject(OVER_BYTES);
    });

    it('counts the audit trail in the quota until it is pruned, also that of a deleted version', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const write = (index: number, bytes?: number) =>
        store.writeKeys(user, version, [keyOf('!é:x', 'a\0', index)], { bytes }, 'DÉV');
      const entry = Buffer.byteLength('!é:xa\0DÉVDÉV') + ENTRY_BYTES;
      const key = content.auth_data.length + keyBytes(keyOf('!é:x', 'a\0', 9));
      await write(9);
      expect(await write(8, key + entry - 1)).toMatchObject(OVER_BYTES);
      expect(await write(8, key + entry)).toMatchObject({ etag: '2' });
      expect(await write(7, key + 2 * entry - 1)).toMatchObject(OVER_BYTES);
      expect(await write(7, key + 2 * entry)).toMatchObject({ etag: '3' });
      const trail = await store.readReplacements(user, 0, 10);
      expect(trail).toHaveLength(2);

      await store.deleteVersion(user, version);
      const create = (bytes: number) => store.createVersion(user, content, { bytes });
      const held = content.auth_data.length + 2 * entry;
      expect(await create(held - 1)).toMatchObject(OVER_BYTES);
      expect(await create(held)).toMatchObject({ outcome: 'created' });
      await store.pruneReplacements(trail[1].time + 1);
      expect(await create(2 * content.auth_data.length - 1)).toMatchObject(OVER_BYTES);
      expect(await create(2 * content.auth_data.length)).toMatchObject({ outcome: 'created' });
    });

    it('writes to nothing but a version of the user that is the current one', async () => {
      const [user, other] = [newUser(), newUser()];
      const old = await newVersion(store, user);
      const current = await newVersion(store, user);
      const write = (who: string, version: string) =>
        store.writeKeys(who, version, [keyOf('!r:x', 's')], {}, undefined);
      const rejected = { outcome: 'wrong-version', current_version: current };
      expect(await write(user, old)).toEqual(rejected);
      expect(await write(other, current)).toEqual({ outcome: 'unknown-version' });
      expect(await write(user, 'none')).toEqual({ outcome: 'unknown-version' });
      expect(await store.readVersion(user, old)).toMatchObject({ count: 0, etag: '0' });
      expect(await store.readVersion(user, current)).toMatchObject({ count: 0, etag: '0' });
      await store.deleteVersion(user, current);
      expect(await write(user, current)).toEqual({ outcome: 'unknown-version' });
      // With the newer one gone it is the current one.
      expect(await write(user, old)).toMatchObject({ outcome: 'changed', count: 1, etag: '1' });
    });

    it('knows which device replaced which key, for a while', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      await store.writeKeys(user, version, [keyOf('!r\0:x', 's', 5)], {}, 'OLD');
      await store.writeKeys(user, version, [keyOf('!r\0:x', 's', 5), keyOf('!r\0:x', 't')], {}, 'TIE');
      await store.writeKeys(user, version, [keyOf('!r\0:x', 's', 9, true)], {}, 'NEW');
      const trail = await store.readReplacements(user, 0, 10);
      expect(trail).toMatchObject([
        {
          user_id: user,
          version,
          room_id: '!r\0:x',
          session_id: 's',
          before: { device_id: 'OLD', first_message_index: 5, is_verified: false, forwarded_count: 0 },
          after: { device_id: 'NEW', first_message_index: 9, is_verified: true, forwarded_count: 0 },
        },
      ]);
      expect(Math.abs(trail[0].time - Date.now())).toBeLessThan(60_000);
      expect(JSON.stringify(trail)).not.toContain('mark');
      expect(await store.readReplacements(newUser(), 0, 10)).toEqual([]);
      expect(await store.readReplacements(user, trail[0].id, 10)).toEqual([]);
      await store.pruneReplacements(trail[0].time);
      expect(await store.readReplacements(user, 0, 10)).toHaveLength(1);
      await store.pruneReplacements(trail[0].time + 1);
      expect(await store.readReplacements(user, 0, 10)).toEqual([]);
    });

    it('erases a user and no other', async () => {
      const [user, other] = [newUser(), newUser()];
      for (const who of [user, other]) {
        const version = await newVersion(store, who);
        await store.writeKeys(who, version, [keyOf('!r:x', 's', 2)], {}, 'D');
        await store.writeKeys(who, version, [keyOf('!r:x', 's', 1)], {}, 'D');
      }
      expect(await store.eraseUser(user)).toBe(true);
      expect(await store.eraseUser(user)).toBe(false);
      expect(await store.readVersion(user)).toBeUndefined();
      expect(await store.readReplacements(user, 0, 10)).toEqual([]);
      expect(await store.readVersion(other)).toMatchObject({ count: 1 });
      expect(await store.readReplacements(other, 0, 10)).toHaveLength(1);
      // And starts afresh.
      const version = await newVersion(store, user);
      expect(await readAll(store, user, version)).toEqual([]);
    });

    it('stores data that lie in any order in memory', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const keys = ['a', 'bb', 'ccc', 'dddd'].map((mark) => keyOf('!r:x', mark, 0, false, mark));
      const data = keys.map((key) => Buffer.from(key.data));
      const expected = data.map((text) => JSON.parse(text.toString()) as unknown);
      for (const order of [
        [0, 1, 2, 3],
        [3, 2, 1, 0],
        [1, 0, 3, 2],
        [1, 3, 0, 2],
      ]) {
        for (const gap of [0, 1, 1_000]) {
          // A place for each, in this order.
          const pieces = order.map((i) => [Buffer.alloc(gap, '{'), data[i]]);
          const memory = Buffer.concat(pieces.flat());
          const batch = keys.map((key, i) => {
            const at = gap * (order.indexOf(i) + 1) + lengthOf(data, order.slice(0, order.indexOf(i)));
            return { ...key, data: memory.subarray(at, at + data[i].length) };
          });
          await store.deleteKeys(user, version, {});
          await store.writeKeys(user, version, batch, {}, undefined);
          const stored = await readAll(store, user, version);
          expect(stored.map(([, , key]) => key)).toEqual(expected);
        }
      }
    });

    it('counts a batch of new, better and worse keys in known and unknown rooms', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const write = (keys: KeyToWrite[], quota = {}): Promise<unknown> =>
        store.writeKeys(user, version, keys, quota, undefined);
      expect(await write([keyOf('a', 's', 5), keyOf('a', 't', 5)])).toMatchObject({ etag: '1', count: 2 });
      const batch = [
        keyOf('b', 's'),
        keyOf('a', 't', 9),
        keyOf('a', 's', 1),
        keyOf('a', 'u'),
        keyOf('c', 's'),
      ];
      // The quota is exact: one key less is too few.
      expect(await write(batch, { keys: 4 })).toEqual({ outcome: 'over-quota', of: 'keys' });
      expect(await readAll(store, user, version)).toHaveLength(2);
      expect(await write(batch, { keys: 5 })).toMatchObject({ etag: '2', count: 5 });
      expect(await write(batch)).toMatchObject({ etag: '2', count: 5 });
      expect(await store.readReplacements(user, 0, 10)).toHaveLength(1);
    });

    it('stores a batch of many statements as one', async () => {
      const user = newUser();
      const version = await newVersion(store, user);
      const keys = Array.from({ length: 5_003 }, (_, i) => keyOf(`!${i % 3}:x`, `s${i}`, 3));
      expect(await store.writeKeys(user, version, keys, {}, undefined)).toMatchObject({
        etag: '1',
        count: 5_003,
      });
      expect(await store.writeKeys(user, version, keys.slice(5_000), {}, undefined)).toMatchObject({
        etag: '1',
      });
      const over = await store.writeKeys(
        user,
        version,
        keys.map((k) => keyOf(k.room_id, `${k.session_id}b`)),
        { keys: 9_000 },
        undefined,
      );
      expect(over).toEqual({ outcome: 'over-quota', of: 'keys' });
      expect(await readAll(store, user, version)).toHaveLength(5_003);
      expect(await store.deleteKeys(user, version, { room_id: '!1:x' })).toMatchObject({
        etag: '2',
        count: 5_003 - 1_668,
      });
      expect(await store.deleteKeys(user, version, {})).toMatchObject({ etag: '3', count: 0 });
    });
  });
}

// Few of them mostly, so that writes meet each other.
const weird = fc.oneof(
  { weight: 3, arbitrary: fc.constant('!a:x') },
  { weight: 1, arbitrary: fc.constantFrom('!b:x', '', '\0', '__proto__', '"\\', 'é') },
);
const session = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('s', 't') },
  { weight: 1, arbitrary: fc.constantFrom('S', 'a+/=', '\0', 'constructor', '😀') },
);
const key = fc
  .record({
    room_id: weird,
    session_id: session,
    index: fc.nat({ max: 2 }),
    forwarded: fc.nat({ max: 2 }),
    verified: fc.boolean(),
    mark: fc.string(),
  })
  .map(({ room_id, session_id, index, forwarded, verified, mark }): KeyToWrite => {
    const rank = { first_message_index: index, forwarded_count: forwarded, is_verified: verified };
    return { room_id, session_id, ...rank, data: utf8Encode(JSON.stringify({ ...rank, mark })) };
  });
const quota = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Quota>({}) },
  fc.record<Quota>(
    { versions: fc.nat({ max: 3 }), keys: fc.nat({ max: 8 }), bytes: fc.nat({ max: 1_500 }) },
    { requiredKeys: [] },
  ),
);
const who = fc.nat({ max: 1 });
// Null: the user's newest version, else by the order they were made in, whosever; beyond the last one is unknown.
const which = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.nat({ max: 4 }) },
);
const scope = fc.oneof(
  fc.constant<KeyScope>({}),
  fc.record({ room_id: weird }),
  fc.record({ room_id: weird, session_id: session }),
);
const versionContent = fc.record({
  algorithm: fc.constantFrom<string>('a', '\0'),
  auth_data: fc.jsonValue().map((value) => JSON.stringify({ value })),
});
const operation = fc.oneof(
  fc.record({ kind: fc.constant('create' as const), who, content: versionContent, quota }),
  fc.record({ kind: fc.constant('update' as const), who, which, content: versionContent, quota }),
  fc.record({ kind: fc.constant('delete' as const), who, which }),
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      who,
      which,
      keys: fc.uniqueArray(key, { maxLength: 6, selector: (k) => JSON.stringify([k.room_id, k.session_id]) }),
      quota,
      device: fc.constantFrom('D', 'E', undefined),
    }),
  },
  fc.record({ kind: fc.constant('remove' as const), who, which, scope }),
  fc.record({ kind: fc.constant('erase' as const), who }),
  fc.record({ kind: fc.constant('prune' as const), who }),
  // In between, because what a store remembers of one read must not spoil the next.
  fc.record({ kind: fc.constant('read' as const), who, which, limit: fc.integer({ min: 1, max: 4 }) }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

const START = [0, 1].map((user) => ({ kind: 'create', who: user, content, quota: {} }) as const);

async function compareWithModel(store: BackupStore, operations: readonly Operation[]): Promise<void> {
  const model = createMemoryStore();
  const names = [newUser(), newUser()];
  // The same version in the store and in the model.
  const versions: { real: string; ideal: string }[] = [];
  const none = { real: 'none', ideal: 'none' };
  const newest = [none, none];
  const pick = (op: { who: number; which: number | null }): { real: string; ideal: string } =>
    op.which === null ? newest[op.who] : (versions.at(op.which) ?? none);
  const same = <T>(real: T, ideal: T): void => {
    const named = JSON.parse(JSON.stringify(real ?? null), (name, value: unknown) =>
      name === 'version' || name === 'current_version'
        ? versions.find((v) => v.real === value)?.ideal
        : value,
    ) as unknown;
    expect(named).toEqual(JSON.parse(JSON.stringify(ideal ?? null)));
  };
  for (const op of [...START, ...operations]) {
    const user = names[op.who];
    const both = async <T>(
      run: (s: BackupStore, id: (v: { real: string; ideal: string }) => string) => Promise<T>,
    ): Promise<[T, T]> => [await run(store, (v) => v.real), await run(model, (v) => v.ideal)];
    if (op.kind === 'create') {
      const [real, ideal] = await both((s) => s.createVersion(user, op.content, op.quota));
      if (real.outcome === 'created' && ideal.outcome === 'created') {
        versions.push((newest[op.who] = { real: real.version, ideal: ideal.version }));
      } else same(real, ideal);
    } else if (op.kind === 'update') {
      same(...(await both((s, id) => s.updateVersion(user, id(pick(op)), op.content, op.quota))));
    } else if (op.kind === 'delete') {
      same(...(await both((s, id) => s.deleteVersion(user, id(pick(op))))));
    } else if (op.kind === 'write') {
      same(...(await both((s, id) => s.writeKeys(user, id(pick(op)), op.keys, op.quota, op.device))));
    } else if (op.kind === 'remove') {
      same(...(await both((s, id) => s.deleteKeys(user, id(pick(op)), op.scope))));
    } else if (op.kind === 'read') {
      if (!(await model.readVersion(user, pick(op).ideal))) continue;
      const [real, ideal] = await both((s, id) => readAll(s, user, id(pick(op)), {}, op.limit));
      expect(real).toEqual(ideal);
    } else if (op.kind === 'prune') {
      await both((s) => s.pruneReplacements(Number.MAX_SAFE_INTEGER));
    } else {
      same(...(await both((s) => s.eraseUser(user))));
    }
  }
  for (const user of names) {
    same(...([await store.readVersion(user), await model.readVersion(user)] as const));
    for (const v of versions) {
      same(await store.readVersion(user, v.real), await model.readVersion(user, v.ideal));
      const ideal = await model.readKeys(user, v.ideal, {}, undefined, 1000);
      const real = await store.readKeys(user, v.real, {}, undefined, 1000);
      expect(real.outcome).toBe(ideal.outcome);
      if (ideal.outcome !== 'page' || real.outcome !== 'page') continue;
      expect(textOf(real.rooms)).toEqual(textOf(ideal.rooms));
      for (const room_id of ['!a:x', '\0']) {
        for (const session_id of ['s', '😀']) {
          same(
            await store.readKey(user, v.real, room_id, session_id),
            await model.readKey(user, v.ideal, room_id, session_id),
          );
        }
      }
    }
    const plain = async (s: BackupStore) =>
      (await s.readReplacements(user, 0, 1000)).map(({ id: _id, time: _time, ...rest }) => rest);
    // Within one write the order is the database's own.
    const order = (list: unknown[]): string[] => list.map((entry) => JSON.stringify(entry)).sort();
    const ideals = (await plain(model)).map((r) => ({
      ...r,
      version: versions.find((v) => v.ideal === r.version)!.real,
    }));
    expect(order(await plain(store))).toEqual(order(ideals));
  }
}

function textOf(rooms: readonly RoomPage[]): unknown {
  return rooms.map((room) => ({
    ...room,
    members: typeof room.members === 'string' ? room.members : new TextDecoder().decode(room.members),
  }));
}
