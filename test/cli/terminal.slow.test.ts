import { execFileSync, spawn } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { encryptSessions } from '../../src/batch/encrypt.js';
import { DECRYPT, MAIN, Workspace, backupOf, ended, syntheticSession } from './workspace.js';

/** `script` of util-linux gives a command a terminal of its own. */
function hasScript(): boolean {
  try {
    return execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux');
  } catch {
    return false;
  }
}

/** Runs the command line on a terminal; `type` is called with all that was shown so far, and types. */
async function onTerminal(
  work: Workspace,
  args: readonly string[],
  type: (shown: string) => string | undefined,
): Promise<{ code: number | null; shown: string }> {
  const command = [process.execPath, MAIN, ...args].map((word) => `'${word}'`).join(' ');
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd: work.folder });
  let seen = '';
  child.stdout.on('data', (text: Buffer) => {
    seen += text.toString();
    const typed = type(seen);
    if (typed !== undefined) child.stdin.write(typed);
  });
  const { code, stdout } = await ended(child);
  return { code, shown: stdout };
}

/** Types once, when the question is there. */
function answer(text: string): (shown: string) => string | undefined {
  let answered = false;
  return (shown) => {
    if (answered || !shown.includes('backup decryption key: ')) return undefined;
    answered = true;
    return text;
  };
}

describe.skipIf(!hasScript()).concurrent('on a terminal', () => {
  it.each([[[]], [['--key-file', '-']]])('the key is asked for and not shown', async (keyFile) => {
    const work = new Workspace();
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    const args = ['decrypt', 'backup.json', ...keyFile, '-o', 'out.json'];
    const { code, shown } = await onTerminal(work, args, answer(`${work.key.toRecoveryKey()}\r`));
    work.expectNoSecret(shown);
    expect(shown).not.toContain(work.key.toRecoveryKey().slice(0, 9));
    expect(shown).toContain('backup decryption key: ');
    expect(shown).toContain('1 of 1 keys; 0 failed');
    expect(code).toBe(0);
    expect((work.json('out.json') as unknown[]).length).toBe(1);
  });

  it('Ctrl-C at the question ends the command, and says no more', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    const args = ['decrypt', 'backup.json', '-o', 'out.json'];
    const { code, shown } = await onTerminal(work, args, answer('Es\u0003'));
    expect(code).toBe(130);
    expect(shown).toContain('interrupted (SIGINT)');
    expect(shown).not.toContain('--help');
    expect(work.filesBut('backup.json')).toEqual([]);
  });

  it('nothing is an answer, and a wrong one', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', { rooms: {} });
    for (const typed of ['\r', '\u0004']) {
      const { code, shown } = await onTerminal(
        work,
        ['decrypt', 'backup.json', '-o', 'o.json'],
        answer(typed),
      );
      expect(code).toBe(2);
      expect(shown).toContain('expected one line, got nothing');
    }
  });

  it.each([[[]], [['--passphrase-file', '-']]])(
    'a new passphrase is asked for until it comes twice',
    async (from) => {
      const work = new Workspace();
      work.writeJson('export.json', [work.session()]);
      const typed = ['first', 'slip', 'second', 'second'];
      let answers = 0;
      const { code, shown } = await onTerminal(
        work,
        ['export', 'encrypt', 'export.json', ...from, '-o', 'keys.txt'],
        (seen) => {
          const asked = seen.match(/of the export(, again)?: (?!the)/g)?.length ?? 0;
          return asked > answers ? `${typed[answers++]}\r` : undefined;
        },
      );
      expect(shown).toContain('passphrase of the export: the two entries differ');
      expect([code, answers]).toEqual([0, 4]);
      work.write('phrase.txt', 'second');
      const opened = ['export', 'decrypt', 'keys.txt', '--passphrase-file', 'phrase.txt', '-o', 'out.json'];
      expect(await work.run(opened)).toMatchObject({ code: 0 });
    },
  );

  it('there is progress, and nowhere else', async () => {
    const work = new Workspace();
    const sessions = Array.from({ length: 100 }, () => syntheticSession());
    const records: string[] = [];
    for await (const result of encryptSessions(sessions, work.key.publicKey)) {
      if (result.ok)
        records.push(`${JSON.stringify(result.session_id)}:${JSON.stringify(result.key_backup_data)}`);
    }
    const rooms = Array.from({ length: 60 }, (_, i) => `"!room ${i}":{"sessions":{${records.join()}}}`);
    work.write('backup.json', `{"rooms":{${rooms.join()}}}`);
    const args = [...DECRYPT, '--force', '-o', 'out.json'];
    const [terminal, pipe] = [await onTerminal(work, args, () => undefined), await work.run(args)];
    expect(terminal.code).toBe(0);
    expect(terminal.shown).toMatch(/\r\u001b\[K\d+ % \d+ keys, \d+ keys\/s, \d+:\d\d left/);
    // The line is taken away before the numbers.
    expect(terminal.shown).toMatch(/\r\u001b\[K6000 of 6000 keys; 0 failed\r?\n$/);
    expect(pipe.stderr).toBe('6000 of 6000 keys; 0 failed\n');
  });
});
