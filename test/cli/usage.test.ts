import { readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { COMMANDS as COMMAND_LOADERS } from '../../src/cli/commands.js';
import { sealedExport } from '../support/samples.js';
import { DECRYPT, USER, Workspace, backupOf, signedAuthData } from './workspace.js';

const COMMANDS = [
  'keygen',
  'mac-key',
  'encrypt',
  'decrypt',
  'verify',
  'authenticate',
  'export',
  'rescue',
  'completion',
];

/** Their examples want a server, or a database. */
const WITH_SERVER = [
  'versions',
  'upload',
  'restore',
  'diagnose',
  'serve',
  'migrate',
  'audit',
  'erase-user',
  'conformance',
];

describe.concurrent('help', () => {
  const elementKeys = sealedExport({
    plaintext: JSON.stringify([new Workspace().session()]),
    passphrase: 'a passphrase',
  });

  it('names every command', async () => {
    const work = new Workspace();
    const [long, short, word, none] = await Promise.all([
      ...[['--help'], ['-h'], ['help'], []].map((args) => work.run(args)),
    ]);
    expect([long.code, short.code, word.code, none.code]).toEqual([0, 0, 0, 2]);
    expect(new Set([long, short, word].map(({ stdout }) => stdout)).size).toBe(1);
    for (const command of [...COMMANDS, ...WITH_SERVER])
      expect(long.stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(long.stdout).toContain('Exit codes: 0');
    const { bin } = createRequire(import.meta.url)('../../package.json') as { bin: Record<string, string> };
    const main = readFileSync(new URL(`../../${bin['megolm-backup']}`, import.meta.url), 'utf8');
    expect(main.startsWith('#!/usr/bin/env node\n')).toBe(true);
  });

  it.each(COMMANDS)('of %s has an example that is right usage', async (command) => {
    const work = new Workspace();
    const { authData, signer } = signedAuthData(work.key);
    work.writeJson('export.json', [work.session()]);
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    work.writeJson('version.json', authData);
    work.writeJson('keys.json', backupOf([work.session()], work.key));
    work.writeJson('account.json', {});
    work.write('phrase.txt', 'a passphrase\n');
    work.write('element-keys.txt', elementKeys);
    const help = await work.run([command, '--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    expect(help.stdout).toMatch(new RegExp(`^usage: megolm-backup ${command}`));
    expect(await work.run([command, '-h'])).toEqual(help);
    const [, examples] = help.stdout.split('\nexample:\n');
    const all = examples.replaceAll('\\\n', ' ').trim().split('\n');
    const lines = all.filter((line) => !line.includes('--homeserver'));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      const [name, ...args] = line.trim().split(/\s+/);
      expect(name).toBe('megolm-backup');
      expect(args[0]).toBe(command);
      // The key of the example is not the one that has signed here.
      const own = args.map((arg) =>
        arg.startsWith('ed25519:') ? signer : arg === '@alice:example.org' ? USER : arg,
      );
      const output = args[args.indexOf('-o') + 1];
      if (args.includes('-o')) rmSync(work.path(output), { force: true });
      const given = await work.run(args);
      expect(given.stderr).not.toContain('--help');
      const ran = own.join() === args.join() ? given : await work.run(own);
      expect(ran.code).toBe(0);
    }
  });

  it.each([...COMMANDS, ...WITH_SERVER])('of %s describes every option, and no other', async (command) => {
    const work = new Workspace();
    const { stdout } = await work.run([command, '--help']);
    // Options of other commands are quoted with their names.
    const own = stdout.replaceAll(/"[a-z-]+ --[a-z-]+"/g, '');
    const described = new Set(own.match(/--[a-z][a-z0-9-]*/g));
    const { options } = (await COMMAND_LOADERS[command]()).command;
    expect([...described].sort()).toEqual(
      Object.keys(options)
        .map((name) => `--${name}`)
        .sort(),
    );
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(120);
    expect(stdout).not.toMatch(/ undefined|\[object|\n\n\n/);
    expect(await work.run(['help', command])).toMatchObject({ code: 0, stdout, stderr: '' });
  });

  it('of rescue begins with the form that asks for every secret', async () => {
    const { stdout } = await new Workspace().run(['help', 'rescue']);
    const [usage] = stdout.split('\n');
    const [, examples] = stdout.split('\nexample:\n');
    expect(usage).toBe('usage: megolm-backup rescue --homeserver WHERE -o FILE [options]');
    const asking = 'megolm-backup rescue --homeserver @alice:example.org -o element-keys.txt';
    expect(examples.split('\n')[0].trim()).toBe(asking);
  });

  it('has the version of the package', async () => {
    const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
    const end = await new Workspace().run(['--version']);
    expect(end).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe.concurrent('wrong usage', () => {
  const wrong: [args: string[], message: RegExp][] = [
    [['nothing'], /unknown command "nothing"/],
    [['__proto__'], /unknown command "__proto__"/],
    [['toString'], /unknown command "toString"/],
    [['--json'], /unknown command "--json"/],
    [['keygen', '--nope'], /unknown option "--nope"; see/],
    [['keygen', 'more'], /expected options alone, got 1 argument/],
    [['keygen', '-o'], /-o: expected FILE, got nothing/],
    [['encrypt'], /missing argument: EXPORT\.json/],
    [['encrypt', 'a', 'b'], /expected EXPORT\.json, got 2 argument/],
    [['encrypt', 'a'], /missing option: one of --public-key, --key-file, --auth-data/],
    [['encrypt', 'a', '--salvage'], /unknown option "--salvage"; see/],
    [['encrypt', 'a', '--verified=yes'], /--verified takes no value/],
    [['decrypt'], /missing argument: BACKUP\.json/],
    [['decrypt', 'a'], /give a file \("-" is standard input\), there is no terminal/],
    [['decrypt', 'a', '--key-file'], /--key-file: expected FILE, got nothing/],
    [['decrypt', 'a', '--key-file', '--salvage'], /--key-file: expected FILE, got an option/],
    [['decrypt', 'a', '--passphrase', 'x'], /unknown option "--passphrase"; see/],
    [['verify'], /missing argument: AUTH_DATA\.json/],
    [['verify', 'a'], /missing option: --user ID/],
    [['verify', 'a', '--user', 'alice'], /--user: expected a user id, @name:server, got "alice"/],
    [['verify', 'a', '--user', USER, '--key', 'x'], /a key is given as ed25519:ID=BASE64/],
    [
      ['encrypt', 'key.txt', '--key-file', 'key.txt', '-o', './key.txt'],
      /-o: \.\/key\.txt is a file that is read here/,
    ],
    [
      ['encrypt', 'key.txt', '--key-file', 'key.txt', '-o', 'other', '-o', 'key.txt'],
      /-o: key\.txt is a file that is read here/,
    ],
    [['decrypt', 'key.txt', '--report', 'key.txt'], /--report: key\.txt is a file that is read here/],
    [['authenticate', 'a', '--trusted', 'b', '--new-version'], /--new-version is for a server only/],
    [['vectors'], /unknown command "vectors"; see/],
    [['help', 'nothing'], /unknown command "nothing"; see/],
    [['decrpyt', 'a'], /unknown command "decrpyt" \(did you mean decrypt\?\)/],
    [['version'], /unknown command "version" \(did you mean versions\?\)/],
    [['decrypt', 'a', '--slavage'], /unknown option "--slavage" \(did you mean --salvage\?\)/],
    [['restore', '--token', 'x'], /unknown option "--token" \(did you mean --token-file\?\)/],
    [['export', 'decrypt', 'a', '--passphrase', 'x'], /"--passphrase" \(did you mean --passphrase-file\?\)/],
    [['decrypt', 'a', '-x'], /unknown option "-x"; see/],
    [['decrypt', 'a', '--__proto__'], /unknown option "--__proto__"; see/],
    [['decrypt', '-', '--key-file', '-'], /standard input holds one line or one file/],
    [['completion', 'csh'], /expected one of bash, zsh, fish; see/],
    [['migrate', '--to', 'x'], /missing option: --from WHERE, --users FILE/],
  ];

  it.each(wrong)('%j is rejected with a message', async (args, message) => {
    const work = new Workspace();
    const asks = message.source.includes('no terminal');
    const end = await work.run(args, { outside: asks });
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(end.stderr).toMatch(message);
    expect(end.stderr).toContain('--help');
    expect(work.filesBut()).toEqual([]);
  });
});

describe.concurrent('verify', () => {
  function workspace() {
    const work = new Workspace();
    const { authData, signer } = signedAuthData(work.key);
    work.writeJson('auth.json', authData);
    return { work, authData, signer };
  }
  const VERIFY = ['verify', 'auth.json', '--user', USER];

  it('says by what a backup is trusted, or that it is not', async () => {
    const { work, signer } = workspace();
    const runs: [args: string[], code: number, by: string | null, states: string[]][] = [
      [['--key', signer], 0, 'signature', ['valid-trusted']],
      [['--key-file', 'key.txt'], 0, 'decryption-key', ['missing']],
      [['--known-key', signer], 1, null, ['valid-untrusted']],
      [['--key', signer.replace('DEVICE', 'OTHER')], 1, null, ['missing', 'missing']],
      [['--key', signedAuthData(work.key).signer], 1, null, ['invalid']],
      [[], 1, null, ['missing']],
    ];
    for (const [args, code, by, states] of runs) {
      const [text, json] = await Promise.all([
        work.run([...VERIFY, ...args]),
        work.run([...VERIFY, ...args, '--json']),
      ]);
      expect([text.code, json.code]).toEqual([code, code]);
      const verdict = JSON.parse(json.stdout) as { signatures: { state: string }[] };
      expect(verdict).toMatchObject({
        ...{ by, trusted: code === 0, public_key: work.key.publicKey.toBase64() },
        signatures: states.map((state) => ({ user_id: USER, state })),
      });
      expect(text.stdout.startsWith(code === 0 ? 'trusted (by ' : 'NOT trusted: ')).toBe(true);
      expect(text.stdout.trimEnd().split('\n')).toHaveLength(2 + states.length);
    }
  });

  it('reads the key from standard input', async () => {
    const { work } = workspace();
    const end = await work.run([...VERIFY, '--key-file', '-'], { stdin: work.read('key.txt') });
    expect(end.code).toBe(0);
  });

  it('does not let the server write over the verdict', async () => {
    const { work, authData } = workspace();
    const evil = 'ed25519:\u001b[2J\u001b[Htrusted (by a signature)\u009b1m\ntrusted\r\u202e';
    work.writeJson('auth.json', { ...authData, signatures: { [USER]: { [evil]: 'x' } } });
    const end = await work.run(VERIFY);
    expect(end.code).toBe(1);
    expect(end.stdout.trimEnd().split('\n')).toHaveLength(3);
    expect(end.stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u);
    expect(end.stdout).toContain('\\u001b[2J');
  });

  const malformed: Record<string, [content: string | Uint8Array, code: number, message: RegExp]> = {
    empty: ['', 2, /got an empty file/],
    'no JSON': ['Es secret', 2, /expected JSON, got something else/],
    'an array': ['[]', 2, /expected an object, got an array/],
    'deeply nested': ['{"a":'.repeat(5000) + '1' + '}'.repeat(5000), 2, /levels of nesting/],
    'too large': [`{"a":"${'x'.repeat(2 << 20)}"}`, 2, /expected an auth_data, got more than 1048576 bytes/],
    'without a key': ['{}', 1, /NOT trusted: auth_data\.public_key: .* got nothing/],
    'of 45 bytes': [JSON.stringify({ public_key: 'A'.repeat(60) }), 1, /NOT trusted: .*60 characters/],
    'of another algorithm': ['{"algorithm":"x","auth_data":{}}', 1, /unsupported-algorithm/],
    'with prototype names': [
      `{"public_key":"${'A'.repeat(42)}E","signatures":{"__proto__":{"ed25519:a":"x"},"constructor":{}}}`,
      1,
      /NOT trusted: .*\n.*\nno signatures/,
    ],
  };

  it.each(Object.entries(malformed))('of an auth_data that is %s', async (_, [content, code, message]) => {
    const { work } = workspace();
    work.write('auth.json', content);
    const end = await work.run(VERIFY);
    expect(end.code).toBe(code);
    expect(end.stdout + end.stderr).toMatch(message);
  });
});

describe.concurrent('an output that exists', () => {
  const commands: [command: string, args: string[]][] = [
    ['keygen', []],
    ['mac-key', ['--key-file', 'key.txt']],
    ['encrypt', ['export.json', '--key-file', 'key.txt']],
    ['decrypt', ['backup.json', '--key-file', 'key.txt']],
    ['authenticate', ['backup.json', '--key-file', 'key.txt', '--trusted', 'export.json', '--all']],
    ['export', ['encrypt', 'export.json', '--passphrase-file', 'phrase.txt']],
  ];

  it.each(commands)('of %s is overwritten only with --force, or when it is empty', async (command, args) => {
    const work = new Workspace();
    work.writeJson('export.json', [work.session()]);
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    work.write('phrase.txt', 'a passphrase\n');
    work.write('out', 'precious');
    const made = work.filesBut();
    const end = await work.run([command, ...args, '-o', 'out']);
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(end.stderr).toContain('out exists; --force overwrites it');
    expect(work.read('out')).toBe('precious');
    expect(work.filesBut()).toEqual(made);
    expect(await work.run([command, ...args, '--force', '-o', 'out'])).toMatchObject({ code: 0 });
    expect(work.read('out')).not.toContain('precious');
    work.write('empty', '');
    expect(await work.run([command, ...args, '-o', 'empty'])).toMatchObject({ code: 0 });
    expect(work.read('empty')).not.toBe('');
  });

  it('is kept where a report would go', async () => {
    const work = new Workspace();
    work.writeJson('backup.json', backupOf([work.session()], work.key));
    work.write('report.json', 'precious');
    const end = await work.run([
      'decrypt',
      'backup.json',
      '--key-file',
      'key.txt',
      '--report',
      'report.json',
    ]);
    expect(end).toMatchObject({ code: 2, stdout: '' });
    expect(work.read('report.json')).toBe('precious');
    expect(work.filesBut('backup.json')).toEqual(['report.json']);
  });
});

describe.concurrent('-', () => {
  it('is standard output after -o, and the summary is then not printed there', async () => {
    const work = new Workspace();
    const session = work.session();
    work.writeJson('backup.json', backupOf([session], work.key));
    const decrypt = [...DECRYPT, '--json'];
    const end = await work.run([...decrypt, '-o', '-']);
    expect(end).toMatchObject({ code: 0, stderr: '1 of 1 keys; 0 failed\n' });
    expect(JSON.parse(end.stdout)).toEqual([session]);
    expect(await work.run(decrypt)).toEqual(end);
    expect(work.filesBut('backup.json')).toEqual([]);
    const both = await work.run([...decrypt, '-o', '-', '--report', '-']);
    expect(both).toMatchObject({ code: 2, stdout: '' });
    expect(both.stderr).toContain('-o and --report name the same file');
  });

  it('is standard input in the place of every file that is read', async () => {
    const work = new Workspace();
    const sessions = [work.session()];
    work.writeJson('export.json', sessions);
    work.writeJson('backup.json', backupOf(sessions, work.key));
    work.writeJson('auth.json', signedAuthData(work.key).authData);
    work.write('phrase.txt', 'a passphrase\n');
    work.write('keys.txt', sealedExport({ plaintext: JSON.stringify(sessions), passphrase: 'a passphrase' }));
    work.writeJson('account.json', {});
    const key = ['--key-file', 'key.txt'];
    const rescue = [...key, '--export-passphrase-file', 'phrase.txt', '-o', 'out.txt', '--force'];
    for (const args of [
      ['encrypt', 'export.json', ...key],
      ['encrypt', 'export.json', ...key, '--auth-data', 'auth.json'],
      ['decrypt', 'backup.json', ...key],
      ['decrypt', 'backup.json', ...key, '--auth-data', 'auth.json'],
      ['authenticate', 'backup.json', ...key, '--trusted', 'export.json'],
      ['verify', 'auth.json', '--user', USER, ...key],
      ['export', 'decrypt', 'keys.txt', '--passphrase-file', 'phrase.txt'],
      ['export', 'encrypt', 'export.json', '--passphrase-file', 'phrase.txt'],
      ['rescue', ...rescue, '--version-file', 'auth.json', '--backup-file', 'backup.json'],
    ]) {
      for (const [i, name] of args.entries()) {
        if (!work.filesBut('out.txt').includes(name) && name !== 'key.txt') continue;
        const given = args.map((arg, j) => (j === i ? '-' : arg));
        const end = await work.run(given, { stdin: work.read(name) });
        expect(end, `${args.join(' ')} with ${name} from standard input`).toMatchObject({ code: 0 });
      }
    }
  });
});
