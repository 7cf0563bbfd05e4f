import { describe, expect, it } from 'vitest';
import { sealedExport } from '../../support/samples.js';
import { Workspace, type ReportFile } from '../workspace.js';

const PHRASE = 'a good passphrase';
const DECRYPT = [
  'export',
  'decrypt',
  'keys.txt',
  '--passphrase-file',
  'phrase.txt',
  '--force',
  '-o',
  'out.json',
];
const ENCRYPT = [
  'export',
  'encrypt',
  'in.json',
  '--passphrase-file',
  'phrase.txt',
  '--force',
  '-o',
  'out.txt',
];

function workspace(): Workspace {
  const work = new Workspace();
  work.write('phrase.txt', `${PHRASE}\n`);
  work.secrets.push(PHRASE);
  return work;
}

describe.concurrent('export', () => {
  const empty = sealedExport({ plaintext: '[]', passphrase: PHRASE });
  const others = sealedExport({
    plaintext: JSON.stringify([new Workspace().session()]),
    passphrase: 'another passphrase',
  });

  it.each([
    ['a space behind it', 'fish', 'fish ', 'without the space around it'],
    ['another Unicode form', 'Schlüssel', 'Schlüssel'.normalize('NFD'), 'in Unicode normalisation form NFC'],
    [
      'the line end of the file it was set from',
      'fish\n',
      'fish',
      'with a line end behind it, as a file has it',
    ],
    ['typographic signs', "it's", 'it’s', 'with plain quotation marks, dashes and spaces'],
  ])('decrypts with a passphrase with %s, and says so', async (_, made, typed, how) => {
    const work = workspace();
    const session = work.session();
    work.write('keys.txt', sealedExport({ plaintext: JSON.stringify([session]), passphrase: made }));
    work.write('phrase.txt', `${typed}\n`);
    const end = await work.run(DECRYPT);
    expect(end).toMatchObject({ code: 0, stderr: `the passphrase fits ${how}\n1 of 1 keys; 0 failed\n` });
    expect(work.json('out.json')).toEqual([session]);
  });

  it('flags entries that matrix-nio refuses a file for, and leaves them out with --strict', async () => {
    const work = workspace();
    const sessions = [work.session(), work.session({ sender_claimed_keys: {} })];
    work.writeJson('in.json', sessions);
    work.write('keys.txt', '');
    const flagged = await work.run([...ENCRYPT, '--report', 'report.json']);
    expect(flagged).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('1 of them flagged') as string,
    });
    const report = work.json('report.json') as ReportFile;
    expect(report.keys).toMatchObject([{ path: '$[1]', flags: ['no-claimed-ed25519'] }]);
    const strict = await work.run([...ENCRYPT, '--strict', '--report', 'report.json']);
    expect(strict).toMatchObject({ code: 1 });
    expect((work.json('report.json') as ReportFile).keys).toMatchObject([
      { path: '$[1]', code: 'missing-field' },
    ]);
    work.write('keys.txt', work.read('out.txt'));
    expect(await work.run(DECRYPT)).toMatchObject({ code: 0 });
    expect(work.json('out.json')).toEqual(sessions.slice(0, 1));
  });

  it('reads an object of sessions, encrypts it and takes it as what to encrypt', async () => {
    const work = workspace();
    const session = work.session();
    work.writeJson('in.json', { sessions: [session] });
    expect(await work.run(ENCRYPT)).toMatchObject({ code: 0 });
    expect(await work.run(['encrypt', 'in.json', '--key-file', 'key.txt', '-o', 'b.json'])).toMatchObject({
      code: 0,
      stderr: '1 of 1 keys; 0 failed\n',
    });
    work.writeJson('in.json', { keys: [session] });
    const refused = await work.run(ENCRYPT);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(
      'in.json: expected an array of ExportedSessionData, or {"sessions": [...]}: bad-json: the file: expected an array',
    );
  });

  it.each([
    ['without a direction', ['export', 'keys.txt']],
    ['in another direction', ['export', 'sign', 'keys.txt', '--passphrase-file', 'phrase.txt']],
    ['without a file', ['export', 'decrypt', '--passphrase-file', 'phrase.txt']],
    [
      'of a file that is not there',
      ['export', 'decrypt', 'none.txt', '--passphrase-file', 'phrase.txt', '-o', 'o'],
    ],
    [
      'without the passphrase file',
      ['export', 'decrypt', 'keys.txt', '--passphrase-file', 'none.txt', '-o', 'o'],
    ],
    [
      'with an empty passphrase file',
      ['export', 'decrypt', 'keys.txt', '--passphrase-file', 'empty.txt', '-o', 'o'],
    ],
    [
      'of a file that is no array',
      ['export', 'encrypt', 'object.json', '--passphrase-file', 'phrase.txt', '-o', 'o'],
    ],
    ['with one file for both results', [...DECRYPT, '--report', 'out.json']],
  ])('%s is refused and leaves nothing', async (_, args) => {
    const work = workspace();
    work.write('empty.txt', '');
    work.writeJson('object.json', {});
    work.write('keys.txt', empty);
    const end = await work.run(args);
    expect(end.code).toBe(2);
    expect(end.stderr).not.toBe('');
    expect(work.filesBut('phrase.txt', 'empty.txt', 'object.json', 'keys.txt')).toEqual([]);
  });

  it.each([
    ['another passphrase', 'wrong-passphrase', (file: string) => file],
    ['a cut file', 'bad-export-file', (file: string) => file.slice(0, -60)],
    ['another file', 'bad-export-file', () => '{}'],
  ])('decrypt with %s says %s and leaves nothing', async (_, code, change) => {
    const work = workspace();
    work.write('keys.txt', change(others));
    const end = await work.run([...DECRYPT, '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toContain(code);
    expect(work.filesBut('phrase.txt', 'keys.txt')).toEqual([]);
  });

  it('there and back gives the same sessions, in files of the owner only', async () => {
    const work = workspace();
    const sessions = [
      work.session({ room_id: '!a' }),
      work.session({ room_id: '!b', unknown: { field: 1 } }),
    ];
    work.writeJson('in.json', sessions);
    const encrypted = await work.run([...ENCRYPT, '--json']);
    expect(encrypted).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(encrypted.stdout)).toEqual({ total: 2, ok: 2, failed: 0, flagged: 0, codes: {} });
    expect(work.read('out.txt')).toMatch(/^-----BEGIN MEGOLM SESSION DATA-----\n/);
    work.write('keys.txt', work.read('out.txt'));
    const decrypted = await work.run(DECRYPT);
    expect(decrypted).toMatchObject({ code: 0, stdout: '', stderr: '2 of 2 keys; 0 failed\n' });
    expect(work.json('out.json')).toEqual(sessions);
    expect([work.mode('out.txt'), work.mode('out.json')]).toEqual(['600', '600']);
  });

  it('encrypt leaves out what would spoil the file, and names it', async () => {
    const work = workspace();
    const good = work.session();
    const bad = work.session({ sender_key: '' });
    const mended = work.session({ sender_claimed_keys: { ed25519: 'x' } });
    work.writeJson('in.json', [bad, null, good, mended]);
    const end = await work.run([...ENCRYPT, '--report', 'report.json']);
    expect(end.code).toBe(1);
    expect(end.stderr).toBe('2 of 4 keys, 1 of them flagged; 2 failed\n  1 bad-length\n  1 bad-json\n');
    const { keys } = work.json('report.json') as ReportFile;
    expect(keys.map(({ path, code, flags }) => [path, code, flags])).toEqual([
      ['$[0]', 'bad-length', []],
      ['$[1]', 'bad-json', []],
      ['$[3]', undefined, ['unusable-claimed-key', 'no-claimed-ed25519']],
    ]);
    work.write('keys.txt', work.read('out.txt'));
    await work.run(DECRYPT);
    expect(work.json('out.json')).toEqual([good, { ...mended, sender_claimed_keys: {} }]);
  });

  it('of nothing is a file of nothing', async () => {
    const work = workspace();
    work.writeJson('in.json', []);
    expect(await work.run(ENCRYPT)).toMatchObject({ code: 0 });
    work.write('keys.txt', work.read('out.txt'));
    expect(await work.run(DECRYPT)).toMatchObject({ code: 0 });
    expect(work.json('out.json')).toEqual([]);
  });

  it('takes the passphrase from standard input, its spaces included', async () => {
    const work = workspace();
    work.write('keys.txt', sealedExport({ plaintext: '[]', passphrase: ' spaced ' }));
    const args = ['export', 'decrypt', 'keys.txt', '--passphrase-file', '-', '--force', '-o', 'out.json'];
    expect(await work.run(args, { stdin: ' spaced \n' })).toMatchObject({ code: 0 });
    expect(await work.run(args, { stdin: 'spaced\n' })).toMatchObject({ code: 1 });
  });
});
