import { appendFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BACKUP_ALGORITHM, createAuthData } from '../../src/scheme/auth-data.js';
import { KeyBackupServer } from '../support/key-backup-server.js';
import { sealedExport } from '../support/samples.js';
import { DECRYPT, Workspace, backupOf, type ReportFile } from './workspace.js';

const KEYS = 12;

/** A backup of keys in two rooms, and what reads it. */
function saved() {
  const work = new Workspace();
  const sessions = Array.from({ length: KEYS }, (_, i) =>
    work.session({ room_id: i < KEYS / 2 ? '!a:example.org' : '!b:example.org' }),
  );
  const text = JSON.stringify(backupOf(sessions, work.key));
  work.write('phrase.txt', 'a phrase for the export\n');
  work.writeJson('version.json', { auth_data: createAuthData(work.key.publicKey) });
  work.writeJson('trusted.json', sessions);
  const at = (index: number) => text.indexOf(`"${sessions[index].session_id}"`);
  return { work, sessions, text, at };
}

const RESCUE = [
  ...['rescue', '--key-file', 'key.txt', '--export-passphrase-file', 'phrase.txt', '--force'],
  ...['--version-file', 'version.json', '--backup-file', 'backup.json', '--report', 'report.json'],
];
const READERS: Readonly<Record<string, readonly string[]>> = {
  decrypt: [...DECRYPT, '--report', 'report.json'],
  rescue: RESCUE,
  authenticate: [
    ...['authenticate', 'backup.json', '--key-file', 'key.txt', '--trusted', 'trusted.json'],
    ...['--report', 'report.json'],
  ],
};

/** How many keys a command wrote. */
async function written(work: Workspace, command: string): Promise<number> {
  if (command === 'rescue') {
    const phrase = ['--passphrase-file', 'phrase.txt'];
    await work.run(['export', 'decrypt', 'out', ...phrase, '-o', 'sessions.json', '--force']);
    return (work.json('sessions.json') as unknown[]).length;
  }
  if (command === 'decrypt') return (work.json('out') as unknown[]).length;
  const { rooms } = work.json('out') as ReturnType<typeof backupOf>;
  return Object.values(rooms).reduce((sum, { sessions }) => sum + Object.keys(sessions).length, 0);
}

describe.each(Object.entries(READERS))('%s of a damaged backup', (command, args) => {
  it.each<[string, number, string, string, (made: ReturnType<typeof saved>) => string]>([
    [
      'that is cut off in a record',
      ...([9, 'the file ends early', '$.rooms["!b:example.org"].sessions'] as const),
      ({ text, at }) => text.slice(0, at(9) + 100),
    ],
    [
      'that lacks only its last bracket',
      ...([KEYS, 'the file ends early', '$'] as const),
      ({ text }) => text.slice(0, -1),
    ],
    [
      'with something else between two records',
      ...([
        KEYS,
        'the file is damaged at rooms["!a:example.org"].sessions',
        '$.rooms["!a:example.org"]',
      ] as const),
      ({ text, at }) => `${text.slice(0, at(3))}\0\0${text.slice(at(3))}`,
    ],
    [
      'that lost a quotation mark in a record',
      ...([
        KEYS - 1,
        'the file is damaged at rooms["!a:example.org"].sessions',
        '$.rooms["!a:example.org"]',
      ] as const),
      ({ text, at }) => `${text.slice(0, at(3))}${text.slice(at(3)).replace('"mac":"', '"mac":')}`,
    ],
    [
      'that lost a bracket at the end of a record',
      ...([
        KEYS - 1,
        'the file is damaged at rooms["!a:example.org"].sessions',
        '$.rooms["!a:example.org"]',
      ] as const),
      ({ text, at }) => `${text.slice(0, at(3))}${text.slice(at(3)).replace('}}', '}')}`,
    ],
    [
      'with something behind its end',
      ...([KEYS, 'the file is damaged at the body', '$'] as const),
      ({ text }) => `${text}x`,
    ],
  ])('%s gives all other keys', async (_, count, why, path, damage) => {
    const made = saved();
    const { work } = made;
    work.write('backup.json', damage(made));
    const end = await work.run([...args, '-o', 'out']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain(why);
    expect(end.stderr).toContain(`: ${count} keys recovered\n`);
    expect(await written(work, command)).toBe(count);
    const { keys, ...report } = work.json('report.json') as ReportFile;
    expect(report).toMatchObject({ total: count + 1, ok: count, failed: 1 });
    expect(keys).toMatchObject([{ code: 'truncated' }]);
    expect(keys[0].reason).toContain(why);
    expect(keys[0].path.startsWith(path), keys[0].path).toBe(true);
  });

  it('without one whole record writes nothing and ends with 2', async () => {
    const { work, text, at } = saved();
    work.write('backup.json', text.slice(0, at(0) + 60));
    const end = await work.run([...args, '-o', 'out']);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('backup.json: expected a backup, {"rooms": ...}');
    expect(end.stderr).toContain('truncated');
    expect(work.filesBut('phrase.txt', 'version.json', 'trusted.json', 'backup.json')).toEqual([]);
  });
});

describe.each([
  ['encrypt', ['encrypt', 'export.json', '--key-file', 'key.txt']],
  ['export encrypt', ['export', 'encrypt', 'export.json', '--passphrase-file', 'phrase.txt']],
])('%s of a damaged array', (_, args) => {
  it('gives the sessions before the cut', async () => {
    const { work, sessions } = saved();
    work.write('export.json', JSON.stringify(sessions).slice(0, -10));
    const end = await work.run([...args, '-o', 'out']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain(`the file ends early: ${KEYS - 1} keys recovered\n`);
    expect(work.read('out')).not.toBe('');
  });
});

it('export decrypt gives the sessions before damage inside', async () => {
  const { work, sessions } = saved();
  const inside = `${JSON.stringify(sessions).slice(0, -1)},\n`;
  work.write('keys.txt', sealedExport({ plaintext: inside, passphrase: 'a phrase for the export' }));
  const end = await work.run([
    ...['export', 'decrypt', 'keys.txt', '--passphrase-file', 'phrase.txt'],
    ...['-o', 'out', '--report', 'report.json'],
  ]);
  expect(end.code).toBe(1);
  expect(end.stderr).toContain(`the file ends early: ${KEYS} keys recovered\n`);
  expect(work.json('out')).toEqual(sessions);
  expect((work.json('report.json') as ReportFile).keys).toMatchObject([{ code: 'truncated' }]);
});

describe('export decrypt of a damaged file', () => {
  const PHRASE = 'a phrase for the export';
  const DECRYPT = ['export', 'decrypt', 'keys.txt', '--passphrase-file', 'phrase.txt', '-o', 'out'];
  const SALVAGE = [...DECRYPT, '--salvage', '--report', 'report.json'];

  function exported(change: (file: string) => string) {
    const { work, sessions } = saved();
    work.write('keys.txt', change(sealedExport({ plaintext: JSON.stringify(sessions), passphrase: PHRASE })));
    return { work, sessions };
  }

  const cut = (file: string) => file.slice(0, file.length - 1500);
  /** One bit, in the middle of a session key. */
  const changed = (file: string) => {
    const at = 36 + 4 * 850 + 3;
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
    return `${file.slice(0, at)}${alphabet[alphabet.indexOf(file[at]) ^ 1]}${file.slice(at + 1)}`;
  };

  it.each<[string, (file: string) => string, string, number, string, RegExp]>([
    [
      'that is cut off',
      cut,
      'bad-export-file',
      KEYS - 2,
      'truncated',
      /the file is cut off, its MAC is missing, and so a wrong passphrase cannot be told from damage/,
    ],
    [
      'that was changed',
      changed,
      'wrong-passphrase',
      KEYS - 1,
      'bad-export-file',
      /expected its MAC, got another, although the passphrase is right: the file is damaged or was changed/,
    ],
  ])(
    '%s says so, and gives every whole session with --salvage',
    async (_, change, code, count, listed, why) => {
      const { work, sessions } = exported(change);
      const refused = await work.run(DECRYPT);
      expect(refused).toMatchObject({ code: 1, stdout: '' });
      expect(refused.stderr).toContain(`${code}: `);
      expect(refused.stderr).toMatch(why);
      expect(refused.stderr).toContain('salvage');
      expect(work.filesBut()).not.toContain('out');

      const end = await work.run(SALVAGE);
      expect(end.code).toBe(1);
      expect(end.stderr).toMatch(new RegExp(`\\nnothing proves that they are unaltered: .*${why.source}`));
      const written = work.json('out') as typeof sessions;
      expect(written.length).toBeGreaterThanOrEqual(count);
      // A change inside a ratchet shows nowhere: it is this that the message is about.
      const unlike = written.filter((one) => !sessions.some((two) => one.session_key === two.session_key));
      expect(unlike.length).toBeLessThanOrEqual(KEYS - count);
      const { keys } = work.json('report.json') as ReportFile;
      expect(keys.map(({ code }) => code)).toContain(listed);
    },
  );

  it('that ends early says how many sessions came out', async () => {
    const { work } = exported(cut);
    const { stderr } = await work.run(SALVAGE);
    expect(stderr).toMatch(/the file ends early: \d+ keys recovered\nnothing proves that they are unaltered/);
  });

  it.each([
    ['whole', (file: string) => file],
    ['cut off', cut],
    ['changed', changed],
  ])('that is %s gives nothing to a wrong passphrase', async (_, change) => {
    const { work } = exported(change);
    work.write('phrase.txt', 'another phrase\n');
    const end = await work.run(SALVAGE);
    expect(end).toMatchObject({ code: 1, stdout: '' });
    expect(end.stderr).toContain('wrong-passphrase: key export: expected the passphrase of this file');
    expect(work.filesBut()).not.toContain('out');
  });

  it('whose MAC is right is read with --salvage as without', async () => {
    const { work, sessions } = exported((file) => file);
    expect(await work.run(SALVAGE)).toMatchObject({ code: 0, stderr: `${KEYS} of ${KEYS} keys; 0 failed\n` });
    expect(work.json('out')).toEqual(sessions);
  });

  it('takes --salvage with decrypt only', async () => {
    const { work } = saved();
    const encrypt = ['export', 'encrypt', 'trusted.json', '--passphrase-file', 'phrase.txt', '--salvage'];
    const end = await work.run(encrypt);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('--salvage is for export decrypt only');
  });
});

describe('rescue from a homeserver', () => {
  let server: KeyBackupServer;
  let made: ReturnType<typeof saved>;

  beforeEach(async () => {
    server = await new KeyBackupServer().start();
    made = saved();
    const { work, text } = made;
    const version = server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
    const { rooms } = JSON.parse(text) as ReturnType<typeof backupOf>;
    for (const [room, { sessions }] of Object.entries(rooms)) {
      for (const [id, record] of Object.entries(sessions)) server.store(version, room, id, record as never);
    }
    work.write('token.txt', 'syt_token\n');
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/keys');
  });

  afterEach(() => server.stop());

  const rescue = () =>
    made.work.run([
      ...['rescue', '--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'],
      ...['--export-passphrase-file', 'phrase.txt', '-o', 'out', '--report', 'report.json'],
    ]);

  /** The second answer ends the retries. */
  const breakAfter = (bytes: number) => {
    server.faults = [
      { kind: 'truncate', bytes },
      { kind: 'answer', status: 403, body: '{"errcode":"M_FORBIDDEN","error":"no"}' },
    ];
  };

  const sessionsIn = async (name: string) => {
    const { work } = made;
    const phrase = ['--passphrase-file', 'phrase.txt'];
    await work.run(['export', 'decrypt', name, ...phrase, '-o', 'sessions.json', '--force']);
    return work.json('sessions.json') as unknown[];
  };

  const INPUTS = ['phrase.txt', 'version.json', 'trusted.json', 'token.txt'];

  it('keeps what came before the connection broke, and the same command resumes', async () => {
    const { work, sessions } = made;
    breakAfter(6000);
    const broken = await rescue();
    expect(broken.code).toBe(2);
    const [, came] = /(\d+) of 12 keys are in out\.partial, a whole export file/.exec(broken.stderr) ?? [];
    expect(broken.stderr).toContain(`M_FORBIDDEN "no"): ${came} keys recovered\n`);
    expect(broken.stderr).toContain('out.state, still encrypted; the same command resumes there\n');
    expect(work.filesBut(...INPUTS)).toEqual(['out.partial', 'out.state']);
    expect([work.mode('out.partial'), work.mode('out.state')]).toEqual(['600', '600']);
    for (const { session_key } of sessions) expect(work.read('out.state')).not.toContain(session_key);
    const kept = await sessionsIn('out.partial');
    expect(kept).toHaveLength(Number(came));
    expect(kept.length).toBeGreaterThan(3);

    // What came once is not lost to a connection that breaks sooner.
    breakAfter(2500);
    const worse = await rescue();
    expect(worse.code).toBe(2);
    expect(worse.stderr).toContain('resuming with the keys in out.state\n');
    expect(worse.stderr).toContain(`${came} of 12 keys are in out.partial`);
    expect(await sessionsIn('out.partial')).toEqual(kept);

    // Nor to a crash in the middle of a line, nor to a server that has forgotten them.
    appendFileSync(work.path('out.state'), '["!a:example.org","half');
    breakAfter(9000);
    const better = await rescue();
    const more = Number(/(\d+) of 12 keys are in out\.partial/.exec(better.stderr)?.[1]);
    expect(more).toBeGreaterThan(Number(came));
    expect(more).toBeLessThan(KEYS);
    const [version] = server.versions;
    for (const [room, id] of server.keysOf(version).slice(0, more)) version.keys.get(room)!.delete(id);
    expect(await rescue()).toMatchObject({ code: 0 });
    expect(await sessionsIn('out')).toEqual(sessions);
    expect(work.filesBut(...INPUTS)).toEqual(['out', 'report.json', 'sessions.json']);
  });

  it('resumes with the page that was not read', async () => {
    server.pages = 5;
    server.faults = [
      {
        kind: 'then',
        effect: () => {
          breakAfter(2000);
        },
      },
    ];
    expect((await rescue()).code).toBe(2);
    const before = server.seen.length;
    expect(await rescue()).toMatchObject({ code: 0 });
    const asked = server.seen.slice(before).filter(({ url }) => url.includes('/room_keys/keys'));
    expect(
      asked.map(({ url }) => new URL(url, server.url).searchParams.get('org.megolm-backup.from')),
    ).toEqual(['5', '10']);
    expect(await sessionsIn('out')).toEqual(made.sessions);
  });

  it('starts again where the backup has changed, and leaves the state of another backup alone', async () => {
    const { work, sessions } = made;
    breakAfter(9000);
    await rescue();
    const [version] = server.versions;
    const late = work.session({ room_id: '!c:example.org' });
    const { rooms } = backupOf([late], work.key);
    server.store(
      version,
      late.room_id,
      late.session_id,
      rooms[late.room_id].sessions[late.session_id] as never,
    );
    breakAfter(2500);
    const changed = await rescue();
    expect(changed.stderr).toContain('the backup has changed since out.state was written; starting again\n');
    expect(changed.stderr).toContain('out.partial, which has more, stays');
    const state = work.read('out.state');
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
    const other = await rescue();
    expect(other.code).toBe(2);
    expect(other.stderr).toContain('out.state: belongs to another backup; remove it to begin anew');
    expect(work.read('out.state')).toBe(state);
    server.versions.pop();
    expect(await rescue()).toMatchObject({ code: 0 });
    expect(await sessionsIn('out')).toEqual([...sessions, late]);
  });

  it.each(['notes\n', '{"format":"megolm-backup-restore/1","version":"v1"}\n'])(
    'leaves a file alone that is no state of a rescue: %j',
    async (text) => {
      const { work } = made;
      work.write('out.state', text);
      const end = await rescue();
      expect(end.code).toBe(2);
      expect(end.stderr).toContain('out.state: expected the state of a rescue; remove it to begin anew');
      expect(work.read('out.state')).toBe(text);
      expect(work.filesBut(...INPUTS)).toEqual(['out.state']);
      // An empty one is what a full disk leaves.
      work.write('out.state', '');
      expect(await rescue()).toMatchObject({ code: 0 });
      expect(work.filesBut(...INPUTS)).toEqual(['out', 'report.json']);
    },
  );

  it('asks for a page with an unreadable place again', async () => {
    server.pages = 5;
    const [version] = server.versions;
    const [[room, id]] = server.keysOf(version);
    const body = `{"rooms":{${JSON.stringify(room)}:{"sessions":{${JSON.stringify(id)}:oops}}},"org.megolm-backup.next_batch":"5"}`;
    breakAfter(2000);
    server.faults.unshift({ kind: 'misreport', body });
    expect(await rescue()).toMatchObject({ code: 2 });
    expect(await rescue()).toMatchObject({ code: 0 });
    expect(await sessionsIn('out')).toHaveLength(KEYS);
  });

  it('writes nothing where not one key came', async () => {
    breakAfter(20);
    const { work } = made;
    const broken = await rescue();
    expect(broken.code).toBe(2);
    expect(broken.stderr).toContain('M_FORBIDDEN');
    expect(work.filesBut(...INPUTS)).toEqual([]);
  });

  it('says when the homeserver sends fewer keys than it counts', async () => {
    server.faulty = (method, path) => method === 'GET' && path.endsWith('/room_keys/version');
    const [{ version, algorithm, auth_data }] = server.versions;
    const body = JSON.stringify({ version, algorithm, auth_data, etag: '1', count: KEYS + 3 });
    for (const command of ['rescue', 'restore']) {
      server.faults = [{ kind: 'misreport', body }];
      const { work } = made;
      const end = await (command === 'rescue'
        ? rescue()
        : work.run([
            ...['restore', '--homeserver', server.url, '--token-file', 'token.txt'],
            ...['--key-file', 'key.txt', '-o', 'restored'],
          ]));
      expect(end, command).toMatchObject({ code: 1 });
      expect(end.stderr).toContain('the server counts 3 more keys than it sent\n');
    }
  });
});

it('upload of a damaged array sends the sessions before the damage, and says where it is', async () => {
  const { work, sessions } = saved();
  const server = await new KeyBackupServer().start();
  try {
    server.createVersion(BACKUP_ALGORITHM, { ...createAuthData(work.key.publicKey) });
    work.write('token.txt', 'syt_token\n');
    work.write('export.json', JSON.stringify(sessions).slice(0, -10));
    const reach = ['--homeserver', server.url, '--token-file', 'token.txt', '--key-file', 'key.txt'];
    const end = await work.run(['upload', 'export.json', ...reach, '--json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toBe(`$[${KEYS - 1}]: truncated: the file ends early\n`);
    expect(JSON.parse(end.stdout)).toMatchObject({ uploaded: KEYS - 1, failed: 1 });
  } finally {
    await server.stop();
  }
});
