import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createBackup } from '../../src/client/backup.js';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { SecretStorageKey } from '../../src/secret-storage/secret-storage.js';
import { startHomeserver, type Homeserver } from '../support/homeserver.js';
import { damage, makeAccount } from '../support/rescuable-account.js';
import { directSessions } from '../support/sample.js';
import { TOKEN_A, TOKEN_B } from '../support/serving.js';
import { Workspace, type ReportFile } from './workspace.js';

const sessions = directSessions(300);
const bySession = (a: { session_id: string }, b: { session_id: string }) =>
  a.session_id < b.session_id ? -1 : 1;

let server: Homeserver;
beforeEach(async () => {
  server = await startHomeserver();
});
afterEach(() => server.stop());

/** A user who has the text form of a key, an access token, and nothing else. */
async function user(token = TOKEN_A) {
  const account = await makeAccount(server.url, sessions);
  const work = new Workspace();
  const text = account.storage.toRecoveryKey();
  work.secrets.push(
    text,
    text.replaceAll(' ', ''),
    token,
    account.seed,
    account.key.toBase64(),
    'export phrase',
  );
  work.write('storage.txt', `${text}\n`);
  work.write('phrase.txt', 'export phrase\n');
  work.write('token.txt', `${token}\n`);
  const rescue = (...more: string[]) =>
    work.run([
      ...['rescue', '--key-file', 'storage.txt', '--export-passphrase-file', 'phrase.txt'],
      ...[
        '--homeserver',
        server.url,
        '--token-file',
        'token.txt',
        '--force',
        '-o',
        'keys.txt',
        '--json',
        ...more,
      ],
    ]);
  server.seen.length = 0;
  return { ...account, work, rescue };
}

async function exported(work: Workspace) {
  return ((await work.exported()) as typeof sessions).sort(bySession);
}

const INPUTS = ['storage.txt', 'phrase.txt', 'token.txt'];

describe('rescue from the reference server', () => {
  it('gives every key that the client uploaded, and the trust of the master key', async () => {
    const { work, rescue } = await user();
    const end = await rescue();
    expect(end.code).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({
      ...{ opened_by: 'secret-storage-key', key_matches: true, master_signed: true },
      ...{ total: 300, ok: 300, failed: 0 },
    });
    expect(await exported(work)).toEqual([...sessions].sort(bySession));
    // Nothing is written to the account, and the token goes where it belongs.
    expect(new Set(server.seen.map(({ method }) => method))).toEqual(new Set(['GET']));
    for (const { path, authorization } of server.seen) {
      work.expectNoSecret(path);
      expect(authorization).toBe(path.endsWith('/versions') ? null : `Bearer ${TOKEN_A}`);
    }
  });

  it('leaves out a record that was damaged there, with its reason', async () => {
    const { work, rescue, roomKeys, info } = await user();
    await damage(roomKeys, info.version, sessions[7]);
    const end = await rescue('--report', 'report.json');
    expect(end.code).toBe(1);
    expect(JSON.parse(end.stdout)).toMatchObject({ total: 300, ok: 299, codes: { 'low-order-key': 1 } });
    const { room_id, session_id } = sessions[7];
    expect((work.json('report.json') as ReportFile).keys).toMatchObject([
      { room_id, session_id, code: 'low-order-key' },
    ]);
    expect(await exported(work)).toHaveLength(299);
  });

  it('says that the stored key is that of another backup', async () => {
    const { work, rescue, roomKeys } = await user();
    await createBackup(roomKeys, { publicKey: BackupDecryptionKey.generate().publicKey });
    const end = await rescue();
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('wrong-key');
    expect(end.stderr).toContain('the backup key in it is that of another backup');
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });

  it.each<[string, string, number, string]>([
    ['another user’s token', TOKEN_B, 2, 'there is no backup'],
    ['an unknown token', 'syt_nobody', 2, 'M_UNKNOWN_TOKEN'],
  ])('with %s gives nothing', async (_, token, code, why) => {
    const { work, rescue } = await user(token);
    const end = await rescue();
    expect(end.code).toBe(code);
    expect(end.stderr).toContain(why);
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });

  it('with the storage key of somebody else gives nothing', async () => {
    const { work, rescue } = await user();
    const other = SecretStorageKey.generate('a/key').toRecoveryKey();
    work.secrets.push(other);
    work.write('storage.txt', other);
    const end = await rescue();
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('wrong-key');
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });
});
