import { InputError, Interrupted, UsageError } from './errors.js';
import { LOOKALIKE } from './wrong-key.js';
import { KeyBackupError } from '../errors.js';
import { type Command } from './command.js';
import { type Terminal } from './terminal.js';
import { printable, quote } from '../encoding/quote.js';

/** Every command, loaded only when it is asked for. */
const COMMANDS: Readonly<Record<string, { readonly about: string; readonly load: () => Promise<Command> }>> =
  {
    keygen: { about: 'make a backup decryption key', load: () => import('./commands/keygen.js') },
    'mac-key': {
      about: 'the key with which a device vouches for what it writes',
      load: () => import('./commands/mac-key.js'),
    },
    encrypt: {
      about: 'encrypt exported sessions into backup objects',
      load: () => import('./commands/encrypt.js'),
    },
    decrypt: {
      about: 'decrypt backup objects into exported sessions',
      load: () => import('./commands/decrypt.js'),
    },
    authenticate: {
      about: 'vouch for the keys of a backup that you have trusted copies of',
      load: () => import('./commands/authenticate.js'),
    },
    verify: {
      about: 'say whether an auth_data is to be trusted, and why',
      load: () => import('./commands/verify.js'),
    },
    versions: {
      about: 'show the current backup version of an account',
      load: () => import('./commands/versions.js'),
    },
    upload: {
      about: 'encrypt exported sessions and upload them',
      load: () => import('./commands/upload.js'),
    },
    restore: { about: 'download and decrypt a backup', load: () => import('./commands/restore.js') },
    diagnose: {
      about: 'say in what state a backup is, and what to do',
      load: () => import('./commands/diagnose.js'),
    },
    rescue: {
      about: 'from what you hold to an export file that every client imports',
      load: () => import('./commands/rescue.js'),
    },
    export: {
      about: 'encrypted key export file <-> array of exported sessions',
      load: () => import('./commands/export.js'),
    },
    serve: { about: 'serve the key backup API', load: () => import('./commands/serve.js') },
    migrate: {
      about: "copy users' backups from another server to this one",
      load: () => import('./commands/migrate.js'),
    },
    audit: {
      about: 'say which device replaced which key on a server',
      load: () => import('./commands/audit.js'),
    },
    'erase-user': { about: 'remove a user from a server', load: () => import('./commands/erase-user.js') },
    conformance: {
      about: 'check a server against the specification',
      load: () => import('./commands/conformance.js'),
    },
  };

function usage(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { about }]) => `  ${name.padEnd(width)}  ${about}`);
  return `Matrix server-side key backup (m.megolm_backup.v1.curve25519-aes-sha2)

usage: megolm-backup COMMAND [arguments]

${lines.join('\n')}

megolm-backup COMMAND --help says more about a command.
Exit codes: 0 all well; 1 it ran, but some keys failed or a check did not hold; 2 wrong usage or unreadable input.
`;
}

/** Runs one command line. Returns its exit code. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const name = args.at(0);
  const rest = args.slice(1);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    terminal.stdout(usage());
    return name === undefined ? 2 : 0;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    terminal.stderr(`megolm-backup: unknown command ${quote(name)}; see megolm-backup --help\n`);
    return 2;
  }
  const command = await COMMANDS[name].load();
  if (rest.includes('--help') || rest.includes('-h')) {
    terminal.stdout(command.usage);
    return 0;
  }
  try {
    return await command.run(rest, terminal);
  } catch (error) {
    return explain(name, error, terminal);
  }
}

/** Who is given the key of the secret storage most often. */
const READERS: readonly string[] = ['decrypt', 'restore', 'diagnose', 'versions'];

function explain(name: string, error: unknown, terminal: Terminal): number {
  const say = (message: string) => {
    terminal.stderr(`megolm-backup ${name}: ${printable(message)}\n`);
  };
  const { signal } = terminal;
  if (signal.aborted) {
    // Where standard output takes no more, that is what was said already.
    if (signal.reason instanceof Interrupted) say(signal.reason.message);
    return 2;
  }
  if (error instanceof InputError) {
    say(`${error.message}${error instanceof UsageError ? `; see megolm-backup ${name} --help` : ''}`);
    return 2;
  }
  if (error instanceof KeyBackupError) {
    const hint = error.code === 'wrong-key' && READERS.includes(name) ? `; ${LOOKALIKE}` : '';
    say(`${error.code}: ${error.message}${hint}`);
    return 1;
  }
  const { code, message } = error as NodeJS.ErrnoException;
  say(code === undefined ? message : `${code}: ${message}`);
  return 2;
}
