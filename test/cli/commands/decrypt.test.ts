import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { jsonPath } from '../../../src/encoding/json.js';
import { base64Encode } from '../../../src/encoding/base64.js';
import { BackupDecryptionKey } from '../../../src/scheme/keys.js';
import type { ExportedSessionData } from '../../../src/formats/room-key.js';
import { sealedExport } from '../../support/samples.js';
import {
  DECRYPT,
  Workspace,
  backupOf,
  recordOf,
  signedAuthData,
  type BackupFile,
  type ReportFile,
} from '../workspace.js';

describe.concurrent('a backup', () => {
  it('of good keys gives the sessions, on standard output or in a file', async () => {
    const work = new Workspace();
    const sessions = [work.session({ room_id: '!a' }), work.session({ room_id: '!b', shared_history: true })];
    work.writeJson('backup.json', backupOf(sessions, work.key));
    work.write('out.json', 'old', 0o644);
    const [stdout, file, json] = await Promise.all([
      work.run([...DECRYPT]),
      work.run([...DECRYPT, '-o', 'out.json', '--force', '--report', 'report.json']),
      work.run([...DECRYPT, '-o', 'other.json', '--json']),
    ]);
    const expected = [sessions[0], { ...sessions[1], 'm.shared_history': true }];
    expect(JSON.parse(stdout.stdout)).toEqual(expected);
    expect(work.json('out.json')).toEqual(expected);
    expect([stdout.code, file.code, json.code, file.stdout]).toEqual([0, 0, 0, '']);
    expect(stdout.stderr).toBe('2 of 2 keys; 0 failed\n');
    const authenticity = { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 2 };
    const numbers = { total: 2, ok: 2, failed: 0, flagged: 0, authenticity };
    expect(JSON.parse(json.stdout)).toEqual({ ...numbers, salvageable: {}, codes: {} });
    expect(json.stderr).toBe('');
    expect(work.json('report.json')).toEqual({
      ...{ format: 'megolm-backup-report/1', ...numbers },
      keys: [],
    });
    expect(['out.json', 'report.json', 'other.json'].map((name) => work.mode(name))).toEqual([
      ...['600', '600', '600'],
    ]);
    expect(work.filesBut('backup.json').sort()).toEqual(['other.json', 'out.json', 'report.json']);
  });

  it('without keys gives no sessions', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: { '!empty': { sessions: {} } }, etag: '7' });
    const end = await work.run(DECRYPT);
    expect(end).toMatchObject({ code: 0 });
    expect(end.stderr).toMatch(/^the backup is empty.*\n0 of 0 keys; 0 failed\n$/);
    expect(JSON.parse(end.stdout)).toEqual([]);
  });

  it('with bad keys gives the others, and a report that names each bad one', async () => {
    const work = new Workspace();
    const { publicKey } = work.key;
    const good = work.session({ room_id: '!good' });
    const backup = backupOf([good], work.key);
    const record = () => recordOf(work.session(), publicKey);
    const mangled = (change: (data: Record<string, string>) => Record<string, unknown>) => {
      const made = record();
      const { ephemeral, ciphertext, mac } = made.session_data;
      return { ...made, session_data: change({ ephemeral, ciphertext, mac }) };
    };
    const session = work.session();
    const { sender_key: _, ...nameless } = session;
    const foreign = BackupDecryptionKey.generate().publicKey;
    const bad: [record: unknown, code: string, id?: string][] = [
      [null, 'bad-json'],
      [7, 'bad-json'],
      [[], 'bad-json'],
      [{}, 'missing-field'],
      [{ session_data: 'x' }, 'bad-json'],
      [mangled(({ mac: _mac, ...rest }) => rest), 'missing-field'],
      [mangled((data) => ({ ...data, mac: data.mac.slice(0, 6) })), 'bad-mac-length'],
      [mangled((data) => ({ ...data, ephemeral: data.ephemeral.slice(0, 40) })), 'bad-length'],
      [mangled((data) => ({ ...data, ephemeral: `*${data.ephemeral.slice(1)}` })), 'bad-base64'],
      [mangled((data) => ({ ...data, ephemeral: 'A'.repeat(43) })), 'low-order-key'],
      [mangled((data) => ({ ...data, ciphertext: '' })), 'bad-ciphertext-length'],
      [mangled((data) => ({ ...data, ciphertext: data.ciphertext.slice(0, 20) })), 'bad-ciphertext-length'],
      [recordOf(session, foreign), 'mac-mismatch'],
      [recordOf('not JSON', publicKey), 'bad-json'],
      [recordOf('['.repeat(30_000), publicKey), 'bad-json'],
      [recordOf(`{"a":${'['.repeat(30_000)}${']'.repeat(30_000)}}`, publicKey), 'bad-json'],
      [recordOf(nameless, publicKey), 'missing-field', session.session_id],
      [recordOf({ ...session, algorithm: 'other' }, publicKey), 'unsupported-algorithm', session.session_id],
      [recordOf({ ...session, session_key: 'AAAA' }, publicKey), 'bad-session-key', session.session_id],
      [recordOf(session, publicKey), 'session-id-mismatch', 'an other'],
      [{ ...record(), note: 'x'.repeat(2 << 20) }, 'too-large'],
    ];
    const sessions: Record<string, unknown> = {};
    bad.forEach(([value], i) => (sessions[`id ${i}`] = value));
    // Session ids that the record has to bear itself stand in rooms of their own.
    const rooms: Record<string, unknown> = {
      ...backup.rooms,
      '!bad': { sessions },
      '!none': {},
      '!text': 'x',
    };
    bad.forEach(([value, , id], i) => {
      if (id === undefined) return;
      // eslint-disable-next-line @typescript-eslint/no-dynamic-delete -- The record moves.
      delete sessions[`id ${i}`];
      rooms[`!room ${i}`] = { sessions: { [id]: value } };
    });
    work.writeJson('backup.json', { rooms });
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(work.json('out.json')).toEqual([good]);
    const total = bad.length + 3;
    expect(end.stderr).toContain(`1 of ${total} keys; ${total - 1} failed`);
    const report = work.json('report.json') as ReportFile;
    expect(report).toMatchObject({ total, ok: 1, failed: total - 1, flagged: 0 });
    expect(report.keys).toHaveLength(total - 1);
    work.expectNoSecret(work.read('report.json'));
    bad.forEach(([, code, id], i) => {
      const [room_id, session_id] = id === undefined ? ['!bad', `id ${i}`] : [`!room ${i}`, id];
      // Some session ids need no brackets.
      const path = jsonPath(`$.rooms["${room_id}"].sessions`, session_id);
      const found = report.keys.find((key) => key.path === path);
      expect(found).toMatchObject({ room_id, session_id, code, flags: [] });
      expect(Object.keys(found ?? {}).sort()).toEqual([
        ...['code', 'flags', 'path', 'reason', 'room_id', 'session_id'],
      ]);
    });
    expect(report.keys.find(({ room_id }) => room_id === '!text')).toMatchObject({
      ...{ session_id: null, path: '$.rooms["!text"]', code: 'bad-json' },
    });
  });

  it('whose rooms and sessions stand there twice gives each key once, and says so', async () => {
    const work = new Workspace();
    const [first, second] = [work.session(), work.session()];
    const record = (session: ExportedSessionData) => JSON.stringify(recordOf(session, work.key.publicKey));
    const [one, two] = [first, second].map((session) => `"${session.session_id}":${record(session)}`);
    work.write(
      'backup.json',
      `{"rooms":{"!r":{"sessions":{${one},${one}}},"!r":{"sessions":{${two},${one}}}}}`,
    );
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    expect(end.code).toBe(1);
    const ids = (work.json('out.json') as ExportedSessionData[]).map(({ session_id }) => session_id);
    expect(ids).toEqual([first.session_id, second.session_id]);
    const { keys } = work.json('report.json') as ReportFile;
    expect(keys.map(({ session_id, code }) => [session_id, code])).toEqual([
      [first.session_id, 'bad-json'],
      [null, 'bad-json'],
      [first.session_id, 'bad-json'],
    ]);
    expect(keys.every(({ reason }) => reason.includes('expected once, got again'))).toBe(true);
  });
});

describe.concurrent('a key that does not fit', () => {
  function workspace() {
    const work = new Workspace();
    const other = BackupDecryptionKey.generate();
    work.secrets.push(other.toRecoveryKey());
    work.write('other.txt', other.toRecoveryKey());
    work.writeJson('backup.json', backupOf([work.session(), work.session()], work.key));
    work.writeJson('auth.json', signedAuthData(work.key).authData);
    const made = ['backup.json', 'other.txt', 'auth.json'];
    return { work, other, made };
  }

  it('is wrong-key before anything else where there is an auth_data', async () => {
    const { work, made } = workspace();
    const args = [
      '--key-file',
      'other.txt',
      '--auth-data',
      'auth.json',
      '-o',
      'o.json',
      '--report',
      'r.json',
    ];
    for (const backup of ['backup.json', 'no-such-file.json']) {
      const end = await work.run(['decrypt', backup, ...args]);
      expect(end.code).toBe(1);
      expect(end.stderr).toMatch(/wrong-key: decryption key: .*\n$/);
      expect(end.stderr.trimEnd()).not.toContain('\n');
      expect(work.filesBut(...made)).toEqual([]);
    }
    const right = await work.run([...DECRYPT, '--auth-data', 'auth.json', '-o', 'o.json']);
    expect(right.code).toBe(0);
  });

  it('is told from the keys without an auth_data', async () => {
    const { work, made } = workspace();
    const args = ['decrypt', 'backup.json', '--key-file', 'other.txt', '--report', 'r.json', '--force'];
    const [file, stdout] = [await work.run([...args, '-o', 'o.json', '--json']), await work.run(args)];
    for (const end of [file, stdout]) {
      expect(end.code).toBe(1);
      expect(end.stderr).toContain('the key does not fit this backup');
    }
    expect(stdout.stdout).toBe('');
    expect(JSON.parse(file.stdout)).toMatchObject({ ok: 0, failed: 2, codes: { 'mac-mismatch': 2 } });
    expect(work.filesBut(...made)).toEqual(['r.json']);
    const report = work.json('r.json') as ReportFile;
    expect(report).toMatchObject({ total: 2, ok: 0, failed: 2 });
    expect(report.keys.map(({ code }) => code)).toEqual(['mac-mismatch', 'mac-mismatch']);
  });

  it('is told from the well-formed keys alone', async () => {
    const { work, made } = workspace();
    const backup = work.json('backup.json') as BackupFile;
    const [record] = Object.values(Object.values(backup.rooms)[0].sessions);
    const malformed = {
      'not an object': 1,
      'without anything': {},
      // Whatever the key, nothing is agreed on with a point of small order.
      'small order': { ...record, session_data: { ...record.session_data, ephemeral: 'A'.repeat(43) } },
      'short mac': { ...record, session_data: { ...record.session_data, mac: 'AAAA' } },
    };
    work.writeJson('backup.json', { rooms: { ...backup.rooms, '!malformed': { sessions: malformed } } });
    const args = ['decrypt', 'backup.json', '--key-file', 'other.txt', '--report', 'r.json', '-o', 'o.json'];
    const end = await work.run(args);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('the key does not fit this backup');
    expect(work.filesBut(...made)).toEqual(['r.json']);
    expect((work.json('r.json') as ReportFile).total).toBe(6);
  });

  it('is not blamed when one key fits, or none is well-formed', async () => {
    const { work, other } = workspace();
    const backup = work.json('backup.json') as BackupFile;
    const fitting = work.session();
    const fits = backupOf([{ ...fitting, room_id: '!other' }], other);
    work.writeJson('some.json', { rooms: { ...backup.rooms, ...fits.rooms } });
    work.writeJson('none.json', { rooms: { '!r': { sessions: { a: {}, b: null } } } });
    const key = ['--key-file', 'other.txt', '-o'];
    const [some, none] = await Promise.all([
      work.run(['decrypt', 'some.json', ...key, 'some-out.json']),
      work.run(['decrypt', 'none.json', ...key, 'none-out.json']),
    ]);
    expect([some.code, none.code]).toEqual([1, 1]);
    expect(some.stderr + none.stderr).not.toContain('does not fit');
    expect(work.json('some-out.json')).toEqual([{ ...fitting, room_id: '!other' }]);
    expect(work.json('none-out.json')).toEqual([]);
  });
});

describe.concurrent('salvage', () => {
  function workspace() {
    const work = new Workspace();
    const short = backupOf([work.session({ room_id: '!short mac' })], work.key);
    const { sessions } = short.rooms['!short mac'];
    const [[id, record]] = Object.entries(sessions);
    const { session_data } = record;
    sessions[id] = { ...record, session_data: { ...session_data, mac: session_data.mac.slice(0, 6) } };
    const { sender_key: _k, sender_claimed_keys: _c, ...bare } = work.session();
    const bareRoom = { sessions: { [bare.session_id]: recordOf(bare, work.key.publicKey) } };
    const good = backupOf([work.session({ room_id: '!good' })], work.key);
    const bad = { sessions: { bad: recordOf('no JSON', work.key.publicKey) } };
    work.writeJson('backup.json', {
      rooms: { ...good.rooms, ...short.rooms, '!bare': bareRoom, '!bad': bad },
    });
    return work;
  }

  it('reads what an old client accepted, and flags it', async () => {
    const work = workspace();
    const files = ['-o', 'out.json', '--report', 'report.json', '--json'];
    const end = await work.run([...DECRYPT, '--salvage', ...files]);
    expect(end.code).toBe(1);
    const numbers = { total: 4, ok: 3, failed: 1, flagged: 2 };
    expect(JSON.parse(end.stdout)).toMatchObject({ ...numbers, codes: { 'bad-json': 1 } });
    const report = work.json('report.json') as ReportFile;
    expect(report).toMatchObject({ format: 'megolm-backup-report/1', ...numbers });
    const flags = Object.fromEntries(report.keys.map((key) => [key.room_id, key.flags]));
    expect(flags['!bare']).toEqual(['missing-sender-key', 'missing-sender-claimed-keys']);
    expect(flags['!short mac']).toHaveLength(1);
    expect(flags['!bad']).toEqual([]);
    for (const key of report.keys) expect('code' in key).toBe(key.room_id === '!bad');
    expect((work.json('out.json') as unknown[]).length).toBe(3);
    work.expectNoSecret(work.read('report.json'));
  });

  it('is not done unasked', async () => {
    const end = await workspace().run([...DECRYPT, '-o', 'out.json', '--json']);
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 4, ok: 1, failed: 3, flagged: 0 });
  });
});

describe.concurrent('a record that other implementations drop', () => {
  it('is read, flagged, counted and reported', async () => {
    const work = new Workspace();
    const { room_id, session_id, ...fields } = work.session({ sender_key: 'garbage' });
    const record = recordOf(fields, work.key.publicKey);
    work.writeJson('backup.json', { rooms: { [room_id]: { sessions: { [session_id]: record } } } });
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    expect(end).toMatchObject({ code: 0, stderr: '1 of 1 keys, 1 of them flagged; 0 failed\n' });
    expect(work.json('report.json')).toMatchObject({
      flagged: 1,
      keys: [
        {
          session_id,
          flags: ['unusable-sender-key', 'unreadable-by-others'],
          reason: 'malformed: unusable-sender-key; other implementations cannot read this record',
        },
      ],
    });
    expect(work.json('out.json')).toEqual([{ ...fields, room_id, session_id }]);
  });
});

describe.concurrent('a file that is no backup', () => {
  const work = () => {
    const made = new Workspace();
    made.writeJson('good.json', backupOf([made.session(), made.session()], made.key));
    return made;
  };
  const broken: Record<string, (good: string) => string | Uint8Array> = {
    empty: () => '',
    'a space': () => ' ',
    'no JSON': () => 'Es key',
    'a number': () => '1',
    'an array': () => '[]',
    null: () => 'null',
    'an object without rooms': () => '{"etag":"1"}',
    'rooms that are an array': () => '{"rooms":[]}',
    'rooms that are null': () => '{"rooms":null}',
    'cut off at once': () => '{',
    'cut off in its first record': (good) => good.slice(0, good.length / 4),
    'closed by wrong brackets': () => '{"rooms":{"!a":{"sessions":{"s":{"a":[}}}}}}',
    'deeply nested': () => '{"rooms":'.repeat(100_000),
    'deeply nested arrays': () => `{"rooms":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
    'zero bytes': () => new Uint8Array(1000),
  };

  it.each(Object.entries(broken))('because it is %s, leaves no file', async (_, make) => {
    const folder = work();
    folder.write('backup.json', make(folder.read('good.json')));
    const end = await folder.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    expect(end.code).toBe(2);
    expect(end.stderr).toMatch(
      /^megolm-backup decrypt: backup\.json: expected a backup.*(: bad-json: |: truncated: |: missing-field: |: the file is empty|, got exported)/,
    );
    expect(end.stderr.length).toBeLessThan(400);
    expect(folder.filesBut('backup.json', 'good.json')).toEqual([]);
  });

  const wrongExports: Record<string, string> = {
    'an object': '{"rooms":{}}',
    'cut off at once': '[{"room_id":',
    empty: '',
    'wrongly separated': '[,1]',
  };

  it.each(Object.entries(wrongExports))(
    'nor an export, because it is %s, leaves no file',
    async (_, text) => {
      const folder = new Workspace();
      folder.write('export.json', text);
      const end = await folder.run(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'out.json']);
      expect(end.code).toBe(2);
      expect(end.stderr).toMatch(
        /export\.json: expected an array of ExportedSessionData.*(: bad-json: |: truncated: |: the file is empty|, got a backup)/,
      );
      expect(folder.filesBut('export.json')).toEqual([]);
    },
  );

  it('that is an encrypted export says how to open it', async () => {
    const folder = new Workspace();
    folder.write('keys.txt', sealedExport({ plaintext: '[]', passphrase: 'a passphrase' }));
    for (const command of ['encrypt', 'decrypt']) {
      const end = await folder.run([command, 'keys.txt', '--key-file', 'key.txt']);
      expect(end).toMatchObject({ code: 2, stdout: '' });
      expect(end.stderr).toMatch(/got an encrypted export file; "megolm-backup export decrypt" opens it\n$/);
    }
  });

  it.each([
    ['{"errcode":"M_UNKNOWN_TOKEN","error":"no"}', 'an error that a homeserver answered; save'],
    ['{"error":"no", "errcode": "M_FORBIDDEN"}', 'an error that a homeserver answered; save'],
    ['{"version":"1","auth_data":{}}', 'the version of a backup; its keys are another file'],
    ['{"m.secret_storage.default_key":{}}', 'account data; the keys are another file'],
    ['[{"type":"m.megolm_backup.v1","content":{}}]', 'account data; the keys are another file'],
    [
      '\ufeff[{"algorithm":"m.megolm.v1.aes-sha2"}]',
      'exported sessions, which need no key; "megolm-backup export',
    ],
    ['{"sessions":[]}', 'exported sessions, which need no key; "megolm-backup export encrypt"'],
  ])('that is another file, %s, is named as what it is', async (content, named) => {
    const folder = new Workspace();
    folder.write('given.json', content);
    const end = await folder.run(['decrypt', 'given.json', '--key-file', 'key.txt']);
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(end.stderr).toContain(`got ${named}`);
  });

  it('that holds a backup is named by the commands of exports', async () => {
    const folder = new Workspace();
    folder.writeJson('backup.json', { rooms: {} });
    folder.write('phrase.txt', 'a passphrase');
    for (const args of [
      ['encrypt', 'backup.json', '--key-file', 'key.txt'],
      ['export', 'encrypt', 'backup.json', '--passphrase-file', 'phrase.txt'],
      ['export', 'decrypt', 'backup.json', '--passphrase-file', 'phrase.txt'],
    ]) {
      const end = await folder.run(args);
      expect(end).toMatchObject({ code: 2, stdout: '' });
      expect(end.stderr).toContain('got a backup, which is encrypted; "megolm-backup decrypt" opens it');
    }
  });

  it('of another shape is called a file, not a body', async () => {
    const folder = new Workspace();
    folder.writeJson('given.json', 1);
    const end = await folder.run(['decrypt', 'given.json', '--key-file', 'key.txt']);
    expect(end.stderr).toContain('bad-json: the file: expected an object');
  });

  it('or that cannot be opened is named', async () => {
    const folder = new Workspace();
    const missing = await folder.run(DECRYPT);
    expect(missing).toMatchObject({ code: 2, stdout: '' });
    expect(missing.stderr).toBe(
      'megolm-backup decrypt: cannot read backup.json (ENOENT: no such file or directory)\n',
    );
    const directory = await folder.run(['decrypt', '.', '--key-file', 'key.txt', '-o', 'out.json']);
    expect(directory.code).toBe(2);
    expect(directory.stderr).toContain('(EISDIR: a directory, not a file)');
    expect(folder.filesBut()).toEqual([]);
  });

  it('in one record only is a matter of that record', async () => {
    const folder = new Workspace();
    const good = folder.session({ room_id: '!good' });
    const text = JSON.stringify(backupOf([good], folder.key));
    const nested = `{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    const bad = `"!bad":{"sessions":{"nested":${nested},"no JSON":{"a":tru},"utf8":{"a":"\xff"}}},`;
    folder.write('backup.json', Buffer.from(text.replace('{"rooms":{', `{"rooms":{${bad}`), 'latin1'));
    const end = await folder.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(folder.json('out.json')).toEqual([good]);
    const { keys } = folder.json('report.json') as ReportFile;
    expect(keys.map(({ session_id, code }) => [session_id, code])).toEqual([
      ['nested', 'too-large'],
      ['no JSON', 'bad-json'],
      ['utf8', 'bad-utf8'],
    ]);
  });

  it('in its ids does not steer the terminal', async () => {
    const folder = new Workspace();
    folder.write(
      'backup.json',
      `{"rooms":{"\\u001b[2J\\u009b2J\\u202e":{"sessions":{"${base64Encode(randomBytes(9))}":`,
    );
    const end = await folder.run(DECRYPT);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('truncated');
    expect(end.stderr.trimEnd()).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  });
});
