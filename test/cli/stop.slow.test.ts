import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, statSync, symlinkSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { base64Encode } from '../../src/encoding/base64.js';
import { encryptSessions } from '../../src/batch/encrypt.js';
import type { ExportedSessionData } from '../../src/formats/room-key.js';
import { DECRYPT, MAIN, Workspace, ended, syntheticSession } from './workspace.js';

/** 20,000 keys; encrypting takes the engine's quick way for many keys to one recipient. */
const MANY = 20_000;

/** One session and its record many times over, under ids of their own. They are read, and refused at the end. */
async function bigBackup(work: Workspace, keys = MANY): Promise<void> {
  const sessions = Array.from({ length: 200 }, () => syntheticSession());
  const records: [id: string, json: string][] = [];
  for await (const result of encryptSessions(sessions, work.key.publicKey)) {
    if (result.ok) records.push([result.session_id, JSON.stringify(result.key_backup_data)]);
  }
  const rooms = Array.from({ length: keys / 200 }, (_, room) => {
    const entries = records.map(([id, json]) => `${JSON.stringify(id)}:${json}`);
    return `"!room ${room}:example.org":{"sessions":{${entries.join()}}}`;
  });
  work.write('backup.json', `{"rooms":{${rooms.join()}}}`);
}

/** Waits until a hidden file of the name has content, which is in the middle of writing it. */
async function untilBegun(work: Workspace, name: string): Promise<void> {
  for (;;) {
    const temporary = readdirSync(work.folder).find((file) => file.startsWith(`.${name}.`));
    if (temporary !== undefined && statSync(work.path(temporary)).size > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe.concurrent('20,000 keys', () => {
  it('stream through a small memory', async () => {
    const work = new Workspace();
    await bigBackup(work);
    const small = ['--max-old-space-size=32', '--max-semi-space-size=2'];
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--json'], { node: small });
    expect(end.code).toBe(0);
    expect(JSON.parse(end.stdout)).toMatchObject({ total: MANY, ok: MANY });
    expect((work.json('out.json') as unknown[]).length).toBe(MANY);
  });

  it('are all written to a slow pipe', async () => {
    const work = new Workspace();
    await bigBackup(work, 4000);
    const child = work.start(DECRYPT);
    // The reader pauses, so the pipe fills up and the writer has to wait.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const { code, stdout } = await ended(child);
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as unknown[]).length).toBe(4000);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)('leave nothing behind on %s', async (signal) => {
    const work = new Workspace();
    await bigBackup(work);
    work.write('out.json', 'what was there before');
    const child = work.start([...DECRYPT, '--force', '-o', 'out.json', '--report', 'report.json']);
    const end = ended(child);
    await untilBegun(work, 'out.json');
    expect(work.mode(work.filesBut('backup.json', 'out.json').find((name) => name.includes('out'))!)).toBe(
      '600',
    );
    child.kill(signal);
    expect(await end).toEqual({
      ...{ code: null, signal, stdout: '' },
      stderr: `megolm-backup decrypt: interrupted (${signal})\n`,
    });
    expect(work.filesBut('backup.json')).toEqual(['out.json']);
    expect(work.read('out.json')).toBe('what was there before');
  });

  it('leave nothing under the name of the output when killed', async () => {
    const work = new Workspace();
    await bigBackup(work);
    const child = work.start([...DECRYPT, '-o', 'out.json', '--report', 'report.json']);
    const end = ended(child);
    await untilBegun(work, 'out.json');
    child.kill('SIGKILL');
    await end;
    const left = work.filesBut('backup.json');
    expect(left.every((name) => name.startsWith('.') && work.mode(name) === '600')).toBe(true);
  });

  it('leave nothing behind when encryption is interrupted', async () => {
    const work = new Workspace();
    const session = JSON.stringify(syntheticSession());
    work.write('export.json', `[${Array<string>(MANY).fill(session).join()}]`);
    const child = work.start(['encrypt', 'export.json', '--key-file', 'key.txt', '-o', 'out.json']);
    const end = ended(child);
    while (work.filesBut('export.json').length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    child.kill('SIGINT');
    expect(await end).toMatchObject({ code: null, signal: 'SIGINT' });
    expect(work.filesBut('export.json')).toEqual([]);
  });
});

describe.concurrent('a command', () => {
  it('that waits for a key is interrupted at once', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    const child = work.start(['decrypt', 'backup.json', '--key-file', '-', '-o', 'out.json']);
    const end = ended(child);
    // Some of the key is there, so the command has begun to read once that is taken.
    child.stdin?.on('error', () => undefined);
    await new Promise((resolve) => child.stdin?.write('Es', resolve));
    await new Promise((resolve) => setTimeout(resolve, 700));
    child.kill('SIGINT');
    expect(await end).toMatchObject({ code: null, signal: 'SIGINT' });
    expect(work.filesBut('backup.json')).toEqual([]);
  });

  it('whose reader has seen enough ends quietly', async () => {
    const work = new Workspace();
    await bigBackup(work, 4000);
    const child = work.start(DECRYPT);
    child.stdout?.once('data', () => child.stdout?.destroy());
    const end = await ended(child);
    expect(end).toMatchObject({ code: 2, signal: null, stderr: '' });
  });

  it.each([[DECRYPT], [['--help']], [['completion', 'bash']], [['verify', 'auth.json', '--user', '@a:b']]])(
    '%j piped into a program that stops reading ends quietly',
    async (args) => {
      const work = new Workspace();
      await bigBackup(work, 4000);
      work.writeJson('auth.json', { public_key: work.key.publicKey.toBase64() });
      for (const pipe of ['"$@" | head -c 1', '"$@" | { exec <&-; sleep 2; }']) {
        const child = spawn('bash', ['-c', pipe, 'bash', process.execPath, MAIN, ...args], {
          cwd: work.folder,
        });
        expect(await ended(child)).toMatchObject({ signal: null, stderr: '' });
      }
    },
  );

  it('goes on when stderr is closed', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: { '!r': { sessions: { a: {} } } } });
    const child = work.start([...DECRYPT, '-o', 'out.json']);
    child.stderr?.destroy();
    expect((await ended(child)).code).toBe(1);
    expect(work.json('out.json')).toEqual([]);
  });

  it.skipIf(process.platform !== 'linux')('that cannot write its result says so', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    work.writeJson('auth.json', { public_key: work.key.publicKey.toBase64() });
    const script = 'exec "$@" > /dev/full';
    const full = (...args: readonly string[]) =>
      ended(spawn('sh', ['-c', script, 'sh', process.execPath, MAIN, ...args], { cwd: work.folder }));
    const ends = await Promise.all([
      full(...DECRYPT),
      full('keygen'),
      full('--help'),
      full('verify', 'auth.json', '--user', '@a:b', '--key-file', 'key.txt'),
    ]);
    for (const end of ends) {
      expect(end.code).toBe(2);
      expect(end.stderr).toMatch(/cannot write to standard output \(ENOSPC.*\)\n$/);
      expect(end.stderr).not.toContain('    at ');
    }
    const file = await work.run([...DECRYPT, '-o', '/dev/full']);
    expect(file).toMatchObject({ code: 2, stdout: '' });
    expect(file.stderr).toContain('cannot write to /dev/full (ENOSPC: no space left on device)');
  });
});

describe.concurrent('the output', () => {
  function workspace() {
    const work = new Workspace();
    const sessions: ExportedSessionData[] = [];
    work.writeJson('backup.json', { rooms: {} });
    work.writeJson('export.json', sessions);
    return work;
  }

  it('is never put in the place of a folder, or where no folder is', async () => {
    const work = workspace();
    mkdirSync(work.path('folder'));
    const made = ['backup.json', 'export.json', 'folder'];
    const encrypt = ['encrypt', 'export.json', '--key-file', 'key.txt', '-o'];
    for (const name of ['folder', '.', 'missing/out.json', 'backup.json/out.json', '/proc/out.json']) {
      const ends = await Promise.all([
        work.run([...DECRYPT, '-o', name]),
        work.run([...DECRYPT, '-o', 'out.json', '--report', name]),
        work.run([...encrypt, name]),
        work.run(['keygen', '-o', name]),
      ]);
      for (const end of ends) {
        expect(end).toMatchObject({ code: 2, stdout: '' });
        expect(end.stderr).toContain(`cannot write to ${name}`);
      }
      expect(work.filesBut(...made)).toEqual([]);
    }
    expect(readdirSync(work.path('folder'))).toEqual([]);
  });

  it('is opened before the work', async () => {
    const work = workspace();
    // Neither input is there; what cannot be written is found first.
    const [decrypt, encrypt] = await Promise.all([
      work.run(['decrypt', 'missing.json', '--key-file', 'key.txt', '--report', 'no/r.json', '-o', 'o.json']),
      work.run(['encrypt', 'missing.json', '--key-file', 'key.txt', '-o', 'no/o.json']),
    ]);
    expect(decrypt.stderr).toContain('cannot write to no/r.json (ENOENT: no such file or directory)');
    expect(encrypt.stderr).toContain('cannot write to no/o.json (ENOENT: no such file or directory)');
    expect(work.filesBut('backup.json', 'export.json')).toEqual([]);
  });

  it.skipIf(process.getuid?.() === 0)('is not put into a folder that may not be written to', async () => {
    const work = workspace();
    mkdirSync(work.path('closed'), { mode: 0o500 });
    const end = await work.run([...DECRYPT, '-o', 'closed/out.json']);
    expect(end).toMatchObject({ code: 2, stderr: expect.stringContaining('(EACCES: ') });
  });

  it('does not take the place of a device', async () => {
    const work = workspace();
    for (const args of [
      [...DECRYPT, '-o', '/dev/null', '--report', '/dev/null'],
      ['encrypt', 'export.json', '--key-file', 'key.txt', '-o', '/dev/null'],
      ['keygen', '-o', '/dev/null'],
    ]) {
      expect((await work.run(args)).code).toBe(0);
      expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
    }
  });

  it('is written through a link', async () => {
    const work = workspace();
    work.write('target.json', 'old', 0o644);
    symlinkSync('target.json', work.path('link.json'));
    expect((await work.run([...DECRYPT, '--force', '-o', 'link.json'])).code).toBe(0);
    expect(work.json('target.json')).toEqual([]);
    expect(work.json('link.json')).toEqual([]);
    expect(work.mode('target.json')).toBe('600');
    expect(work.filesBut('backup.json', 'export.json').sort()).toEqual(['link.json', 'target.json']);
    // A file behind /dev/stdout is written beside it, not in /dev.
    const devices = readdirSync('/dev').sort();
    const script = 'exec "$@" > redirected.json';
    const args = ['-c', script, 'sh', process.execPath, MAIN, ...DECRYPT, '-o', '/dev/stdout'];
    expect((await ended(spawn('sh', args, { cwd: work.folder }))).code).toBe(0);
    expect(work.json('redirected.json')).toEqual([]);
    expect(readdirSync('/dev').sort()).toEqual(devices);
  });

  it('is not the report', async () => {
    const work = workspace();
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--report', './out.json']);
    expect(end.code).toBe(2);
    expect(end.stderr).toContain('-o and --report name the same file');
    expect(work.filesBut('backup.json', 'export.json')).toEqual([]);
  });

  it('may be the input', async () => {
    const work = workspace();
    const session = work.session();
    work.writeJson('file.json', [session]);
    const key = ['--key-file', 'key.txt', '--force', '-o', 'file.json'];
    expect((await work.run(['encrypt', 'file.json', ...key])).code).toBe(0);
    expect((await work.run(['decrypt', 'file.json', ...key])).code).toBe(0);
    expect(work.json('file.json')).toEqual([session]);
  });

  it('is large from a large record, and none of a record that is too large', async () => {
    const work = new Workspace();
    const huge = Buffer.alloc(100 << 20, 'A');
    const start = Buffer.from('{"rooms":{"!r":{"sessions":{"s":{"session_data":{"ciphertext":"');
    work.write('backup.json', Buffer.concat([start, huge, Buffer.from('"}}}}}}')]));
    const end = await work.run([...DECRYPT, '-o', 'out.json', '--report', 'report.json'], {
      node: ['--max-old-space-size=32'],
    });
    expect(end.code).toBe(1);
    expect(end.stderr).toContain('1 too-large');
    expect(readFileSync(work.path('report.json')).length).toBeLessThan(1000);
    expect(base64Encode(huge.subarray(0, 3))).toBeTruthy();
  });
});
