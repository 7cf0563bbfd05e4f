import { readdirSync, statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../../src/scheme/auth-data.js';
import { encryptSessionsSync } from '../../../src/batch/encrypt.js';
import { SecretStorageKey } from '../../../src/secret-storage/secret-storage.js';
import { KeyBackupServer } from '../../support/key-backup-server.js';
import { directSessions } from '../../support/sample.js';
import { Workspace } from '../workspace.js';

describe('save', () => {
  let server: KeyBackupServer;
  let work: Workspace;
  let version: ReturnType<KeyBackupServer['createVersion']>;
  const storage = SecretStorageKey.generate('k');

  beforeEach(async () => {
    server = await new KeyBackupServer().start();
    work = new Workspace();
    work.secrets.push('syt_SECRET');
    work.write('token.txt', 'syt_SECRET\n');
    work.write('storage.txt', `${storage.toRecoveryKey()}\n`);
    work.write('phrase.txt', 'a phrase for the export\n');
    version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
    for (const result of encryptSessionsSync(directSessions(30), work.key.publicKey)) {
      if (!result.ok) throw result.error;
      server.store(version, result.room_id, result.session_id, result.key_backup_data as never);
    }
    const secret = storage.encryptSecret('m.megolm_backup.v1', work.key.toBase64());
    const data = {
      'm.secret_storage.default_key': { key: 'k' },
      'm.secret_storage.key.k': storage.describe(),
      'm.megolm_backup.v1': secret,
    };
    for (const [type, content] of Object.entries(data)) {
      server.accountData.set(`@alice:example.org/account_data/${type}`, content);
    }
  });

  afterEach(() => server.stop());

  const save = (...more: string[]) =>
    work.run(['save', 'dir', '--homeserver', server.url, '--token-file', 'token.txt', ...more]);

  const rescue = (keys: string) =>
    work.run([
      ...['rescue', '--key-file', 'storage.txt', '--export-passphrase-file', 'phrase.txt', '--json'],
      ...['--version-file', 'dir/version.json', '--backup-file', keys],
      ...['--account-data-file', 'dir/account.json', '-o', 'out.txt', '--force'],
    ]);

  it('writes three files for their owner alone, which rescue reads', async () => {
    expect(await save('--json')).toMatchObject({
      code: 0,
      stdout: `{"version":"${version.version}","saved":30,"unreadable":0,"missing":0}\n`,
      stderr: '30 keys saved in dir\n',
    });
    for (const name of ['version.json', 'keys.json', 'account.json']) {
      expect(statSync(work.path(`dir/${name}`)).mode & 0o777, name).toBe(0o600);
    }
    const rescued = await rescue('dir/keys.json');
    expect(rescued.code).toBe(0);
    expect(JSON.parse(rescued.stdout)).toMatchObject({ total: 30, ok: 30, opened_by: 'secret-storage-key' });
  });

  it('overwrites nothing without --force', async () => {
    await save();
    const again = await save();
    expect(again).toMatchObject({ code: 2 });
    expect(again.stderr).toContain('dir/version.json exists; --force overwrites it');
    expect(await save('--force')).toMatchObject({ code: 0 });
  });

  it('says when the homeserver sends fewer keys than it counts', async () => {
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
    const { algorithm, auth_data } = version;
    const body = { version: version.version, algorithm, auth_data, etag: '1', count: 33 };
    server.faults = [{ kind: 'misreport', body: JSON.stringify(body) }];
    const saved = await save();
    expect(saved).toMatchObject({ code: 1 });
    expect(saved.stderr).toContain('3 fewer than the homeserver counts');
  });

  it('keeps the keys that came before a connection broke for good', async () => {
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/keys');
    // The second answer ends the retries.
    server.faults = [
      { kind: 'truncate', bytes: 12_000 },
      { kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN","error":"no"}' },
    ];
    const broken = await save();
    expect(broken).toMatchObject({ code: 2 });
    expect(broken.stderr).toMatch(/the \d+ keys that came are in dir\/keys\.partial\.json/);
    const rescued = await rescue('dir/keys.partial.json');
    expect(rescued.code).toBe(0);
    expect((JSON.parse(rescued.stdout) as { ok: number }).ok).toBeGreaterThan(5);
  });

  it('writes every room once, whatever the pages that it comes in', async () => {
    const keys = server.keysOf(version);
    // Page by page, one key of each room: what no server should do.
    const rooms = ['!a:example.org', '!b:example.org', '!ö:example.org'];
    version.keys.clear();
    keys.forEach(([, id, data], i) => {
      server.store(version, rooms[i % 3], id, { ...data, note: '\u{1f511}ü' });
    });
    const ids = (room: string) => [...version.keys.get(room)!.keys()];
    const order = [...Array(10).keys()].flatMap((i) => rooms.map((room) => [room, ids(room)[i]]));
    server.pages = 7;
    server.keysOf = () => order.map(([room, id]) => [room, id, version.keys.get(room)!.get(id)!]);
    expect(await save()).toMatchObject({ code: 0 });
    const text = work.read('dir/keys.json');
    const stored = rooms.map((room) => [room, { sessions: Object.fromEntries(version.keys.get(room)!) }]);
    expect(JSON.parse(text)).toEqual({ rooms: Object.fromEntries(stored) as unknown });
    for (const room of rooms) expect(text.split(room)).toHaveLength(2);
    expect(readdirSync(work.path('dir')).sort()).toEqual(['account.json', 'keys.json', 'version.json']);
  });

  it('writes a backup without keys', async () => {
    version.keys.clear();
    expect(await save()).toMatchObject({ code: 0 });
    expect(work.json('dir/keys.json')).toEqual({ rooms: {} });
  });

  it('does not hold the keys in memory', async () => {
    // 44 MB of keys in a heap of 32.
    const records = server
      .keysOf(version)
      .map(([, id, data]) => `${JSON.stringify(id)}:${JSON.stringify(data)}`);
    const rooms = 1700;
    version.etag = 1;
    server.rawKeys = function* () {
      yield '{"rooms":{';
      for (let room = 0; room < rooms; room++) {
        yield `${room === 0 ? '' : ','}"!room-${room}:example.org":{"sessions":{${records.join()}}}`;
      }
      yield '}}';
    };
    const node = ['--max-old-space-size=32', '--max-semi-space-size=2'];
    const args = ['save', 'dir', '--homeserver', server.url, '--token-file', 'token.txt'];
    const end = await work.run(args, { node });
    expect(end).toMatchObject({ code: 0, stderr: `${rooms * 30} keys saved in dir\n` });
    expect(statSync(work.path('dir/keys.json')).size).toBeGreaterThan(40_000_000);
  });

  it('makes no folder for an account without a backup', async () => {
    server.versions.length = 0;
    expect(await save()).toMatchObject({ code: 2 });
    expect(() => statSync(work.path('dir'))).toThrow();
  });
});
