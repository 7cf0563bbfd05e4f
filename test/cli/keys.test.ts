import { chmodSync, statSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BackupDecryptionKey } from '../../src/scheme/keys.js';
import { DECRYPT, Workspace, backupOf } from './workspace.js';

interface Generated {
  recovery_key: string;
  private_key: string;
  public_key: string;
}

describe.concurrent('keygen', () => {
  it('prints a key three ways, another one each time', async () => {
    const work = new Workspace();
    const [first, second] = await Promise.all([work.run(['keygen']), work.run(['keygen', '--json'])]);
    expect([first.code, second.code, first.stderr, second.stderr]).toEqual([0, 0, '', '']);
    const made = [first, second].map(({ stdout }) => JSON.parse(stdout) as Generated);
    for (const generated of made) {
      expect(Object.keys(generated)).toEqual(['recovery_key', 'private_key', 'public_key']);
      const key = BackupDecryptionKey.fromRecoveryKey(generated.recovery_key);
      expect(key.toBase64()).toBe(generated.private_key);
      expect(key.publicKey.toBase64()).toBe(generated.public_key);
    }
    expect(made[0].private_key).not.toBe(made[1].private_key);
    expect(second.stdout.trimEnd()).not.toContain('\n');
  });

  it('does not overwrite a file that holds a key', async () => {
    const work = new Workspace();
    expect((await work.run(['keygen', '-o', 'key.json'])).code).toBe(0);
    const before = work.json('key.json');
    const end = await work.run(['keygen', '--force', '-o', 'key.json']);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('holds a key already');
    expect(work.json('key.json')).toEqual(before);
  });

  it('writes a file that only its owner reads, and prints the public key alone', async () => {
    const work = new Workspace();
    work.write('lax.json', 'old', 0o644);
    const ends = await Promise.all([
      work.run(['keygen', '-o', 'key.json']),
      work.run(['keygen', '--json', '--force', '--output', 'lax.json']),
    ]);
    expect(ends.map(({ code }) => code)).toEqual([0, 0]);
    expect([work.mode('key.json'), work.mode('lax.json')]).toEqual(['600', '600']);
    const made = work.json('key.json') as Generated;
    expect(ends[0].stdout).toBe(`public key ${made.public_key}\n`);
    const lax = work.json('lax.json') as Generated;
    expect(JSON.parse(ends[1].stdout)).toEqual({ public_key: lax.public_key });
    for (const { stdout, stderr } of ends) {
      for (const { recovery_key, private_key } of [made, lax]) {
        expect(stdout + stderr).not.toContain(private_key);
        expect(stdout + stderr).not.toContain(recovery_key);
      }
    }
    expect(work.filesBut()).toEqual(['key.json', 'lax.json']);
  });

  it('makes a key file', async () => {
    const work = new Workspace();
    await work.run(['keygen', '-o', 'new.json']);
    work.writeJson('export.json', [work.session()]);
    await work.run(['encrypt', 'export.json', '--key-file', 'new.json', '-o', 'backup.json']);
    const end = await work.run(['decrypt', 'backup.json', '--key-file', 'new.json', '-o', 'sessions.json']);
    expect(end).toMatchObject({ code: 0, stderr: '1 of 1 keys; 0 failed\n' });
    expect(work.json('sessions.json')).toEqual(work.json('export.json'));
  });
});

describe.concurrent('a key file', () => {
  const forms: Record<string, (key: BackupDecryptionKey) => string> = {
    'the text form': (key) => key.toRecoveryKey(),
    'the text form without spaces and line end': (key) => key.toRecoveryKey().replaceAll(' ', ''),
    'the text form with other white space': (key) =>
      `\t${key.toRecoveryKey().replaceAll(' ', '\u00a0')} \r\n`,
    'the text form behind a byte order mark': (key) => `\ufeff${key.toRecoveryKey()}\n`,
    'the text form over two lines': (key) => key.toRecoveryKey().replace(/^(.{29}) /, '$1\n'),
    'the text form over twelve lines': (key) => key.toRecoveryKey().replaceAll(' ', '\r\n'),
    'the text form in a quoted mail': (key) => `> ${key.toRecoveryKey().replace(/^(.{29}) /, '$1\n> ')}\n`,
    'the text form in backticks': (key) => `\`${key.toRecoveryKey().replaceAll(' ', '-')}\``,
    'base64 over two lines': (key) => key.toBase64().replace(/^.{20}/, '$&\n'),
    'URL-safe base64': (key) => key.toBase64().replaceAll('+', '-').replaceAll('/', '_'),
    'unpadded base64': (key) => `${key.toBase64()}\n`,
    'padded base64': (key) => `${key.toBase64()}=\n`,
    'what keygen --json prints': (key) => JSON.stringify({ recovery_key: '', private_key: key.toBase64() }),
  };

  it.each(Object.entries(forms))('holds %s', async (_, form) => {
    const work = new Workspace();
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    work.write('key', form(work.key));
    const [file, stdin] = await Promise.all([
      work.run(['decrypt', 'backup.json', '--key-file', 'key', '-o', 'a.json']),
      work.run(['decrypt', 'backup.json', '--key-file', '-', '-o', 'b.json'], { stdin: form(work.key) }),
    ]);
    expect(file).toMatchObject({ code: 0, stderr: '1 of 1 keys; 0 failed\n' });
    expect(stdin).toEqual(file);
    expect(work.read('a.json')).toBe(work.read('b.json'));
  });

  it.each([
    ['behind a label', (text: string) => `Recovery key: ${text}`, 'read out of the text around it'],
    [
      'with a Cyrillic letter',
      (text: string) => text.replace('E', '\u0415'),
      'read with Latin letters for others that look like them',
    ],
  ])('%s is read, and that is said', async (_, change, said) => {
    const work = new Workspace();
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    work.write('key', change(work.key.toRecoveryKey()));
    const end = await work.run(['decrypt', 'backup.json', '--key-file', 'key', '-o', 'a.json']);
    expect(end).toMatchObject({
      code: 0,
      stderr: `the backup decryption key was ${said}\n1 of 1 keys; 0 failed\n`,
    });
  });

  it('with comma-separated bytes is read, and that is said', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    const list = [...work.key.toBytes()].join(',');
    work.secrets.push(list);
    work.write('key', list);
    const end = await work.run(['decrypt', 'backup.json', '--key-file', 'key', '-o', 'a.json']);
    expect(end.code).toBe(0);
    expect(end.stderr).toContain('warning: the key is a list of byte values');
  });

  it('that others can read earns a warning, and no other file does', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    const ends: string[] = [];
    for (const mode of [0o600, 0o400, 0o640, 0o604, 0o660]) {
      chmodSync(work.path('key.txt'), mode);
      const { code, stderr } = await work.run(DECRYPT);
      expect(code).toBe(0);
      if (stderr.includes('warning')) ends.push(mode.toString(8));
      expect(stderr.includes('warning: key.txt holds a secret')).toBe(stderr.includes('warning'));
    }
    expect(ends).toEqual(['640', '604', '660']);
    chmodSync(work.path('backup.json'), 0o644);
    chmodSync(work.path('key.txt'), 0o600);
    expect((await work.run(DECRYPT)).stderr).not.toContain('warning');
  });

  const bad: Record<string, (key: BackupDecryptionKey) => [content: string, message: string]> = {
    nothing: () => ['', 'expected one line, got nothing'],
    'an empty line': () => ['\n', 'expected one line, got nothing'],
    'two lines': (key) => [`${key.toBase64()}\n${key.toBase64()}\n`, 'expected one line, got several'],
    'a mistyped text form': (key) => [key.toRecoveryKey().replace(/.$/, '0'), 'bad-recovery-key'],
    'a shortened text form': (key) => [key.toRecoveryKey().slice(0, -2), 'bad-recovery-key'],
    'a prolonged text form': (key) => [`${key.toRecoveryKey()}1`, 'bad-recovery-key'],
    'base64 of 31 bytes': (key) => [key.toBase64().slice(0, 42), 'bad-recovery-key'],
    'base64 in a mixture of alphabets': (key) => [`-+${key.toBase64().slice(2)}`, 'bad-recovery-key'],
    'a text form in capitals': (key) => [key.toRecoveryKey().toUpperCase(), 'got capitals only'],
    'a text form in small letters': (key) => [key.toRecoveryKey().toLowerCase(), 'got small letters only'],
    'a list that is too short': (key) => [[...key.toBytes().slice(1)].join(','), 'bad-length'],
    'JSON without a key': () => ['{"public_key":"a"}', 'bad-recovery-key'],
    'JSON with another value as a key': () => ['{"private_key":{"a":1}}', 'bad-recovery-key'],
    'a big file': (key) => [key.toBase64().repeat(200), 'expected one line, got more than 4096 bytes'],
  };

  it.each(Object.entries(bad))('with %s is refused', async (_, content) => {
    const work = new Workspace();
    const [text, message] = content(work.key);
    work.secrets.push(text.trim().slice(0, 20) || 'EsT');
    work.writeJson('backup.json', { rooms: {} });
    work.write('key', text);
    const [file, stdin] = await Promise.all([
      work.run(['decrypt', 'backup.json', '--key-file', 'key', '-o', 'out.json', '--report', 'r.json']),
      work.run(['decrypt', 'backup.json', '--key-file', '-', '-o', 'out.json'], { stdin: text }),
    ]);
    expect(file.code).toBe(2);
    expect(file.stderr).toContain(message);
    expect(stdin).toEqual(file);
    expect(work.filesBut('backup.json', 'key')).toEqual([]);
  });

  it('that does not exist or cannot be read is named', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    const missing = await work.run(['decrypt', 'backup.json', '--key-file', 'missing.txt']);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain('cannot read missing.txt (ENOENT: no such file or directory)');
    const folder = await work.run(['decrypt', 'backup.json', '--key-file', '.']);
    expect(folder.code).toBe(2);
    expect(folder.stderr).toContain('(EISDIR: a directory, not a file)');
    expect(folder.stderr).not.toContain('warning');
  });

  it('is never named in the message when its name is the key', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    for (const name of [work.key.toRecoveryKey(), work.key.toBase64(), `${work.key.toBase64()}=`]) {
      // A file name is no secret, so the workspace's own check would not be to the point without this one.
      const end = await work.run(['decrypt', 'backup.json', '--key-file', name]);
      expect(end.code).toBe(2);
      expect(end.stderr).toMatch(/what looks like a key|ENOENT/);
    }
    expect(statSync(work.path('backup.json')).size).toBeGreaterThan(0);
  });
});
