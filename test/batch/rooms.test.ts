import { describe, expect, it } from 'vitest';
import { BackupDecryptionKey, encryptSessionsSync, groupByRoom, recordsIn } from '../../src/index.js';
import { makeSessions } from '../support/sessions.js';

const rank = { is_verified: false, first_message_index: 5, forwarded_count: 1 };
const record = (room_id: string, session_id: string, changes: object = {}) => ({
  room_id,
  session_id,
  key_backup_data: { ...rank, ...changes },
});

describe('records by room', () => {
  it('have every session of a batch, and are walked in the same order', () => {
    const { publicKey } = BackupDecryptionKey.generate();
    const results = encryptSessionsSync(makeSessions(20), publicKey).filter((result) => result.ok);
    const backup = groupByRoom(results);
    const ids = (one: { room_id: string; session_id: string }) => `${one.room_id} ${one.session_id}`;
    const walked = [...recordsIn(backup)];
    expect(walked.map(ids).sort()).toEqual(results.map(ids).sort());
    const stored = new Map(results.map((result) => [ids(result), result.key_backup_data]));
    for (const one of walked) expect(one.key_backup_data).toBe(stored.get(ids(one)));
    expect([...recordsIn(JSON.parse(JSON.stringify(backup)))]).toEqual(walked);
  });

  it('keep ids that are names of prototypes, and change no prototype', () => {
    const names = ['__proto__', 'constructor', 'toString'];
    const backup = groupByRoom(names.flatMap((room) => names.map((session) => record(room, session))));
    const walked = [...recordsIn(JSON.parse(JSON.stringify(backup)))];
    expect(walked.map(({ room_id, session_id }) => [room_id, session_id])).toEqual(
      names.flatMap((room) => names.map((session) => [room, session])),
    );
    expect(Object.getPrototypeOf(backup.rooms)).toBeNull();
    expect(({} as { sessions?: unknown }).sessions).toBeUndefined();
  });

  it.each([
    ['a verified one', { is_verified: true, first_message_index: 9 }],
    ['one from an earlier message', { first_message_index: 4, forwarded_count: 9 }],
    ['one that was forwarded less often', { forwarded_count: 0 }],
  ])('keep of two copies %s, whichever comes first', (_, better) => {
    const [worse, best] = [record('!r', 's'), record('!r', 's', better)];
    for (const both of [
      [worse, best],
      [best, worse],
    ]) {
      expect(groupByRoom(both).rooms['!r'].sessions.s).toBe(best.key_backup_data);
    }
  });

  it('refuse a failed result', () => {
    const [failed] = encryptSessionsSync([{} as never], BackupDecryptionKey.generate().publicKey);
    expect(() => groupByRoom([failed as never])).toThrow(expect.objectContaining({ code: 'bad-parameters' }));
  });

  it.each([
    ['backup: expected an object, got null', null],
    ['rooms: expected an object, got nothing', {}],
    ['rooms: expected an object, got nothing', Object.create({ rooms: {} })],
    ['rooms["!r"]: expected an object, got an array', { rooms: { '!r': [] } }],
    ['rooms["!r"].sessions: expected an object, got nothing', { rooms: { '!r': {} } }],
  ])('are not found where %s', (message, backup) => {
    expect(() => [...recordsIn(backup)]).toThrow(expect.objectContaining({ code: 'bad-json', message }));
  });
});
