import { readFileSync } from 'node:fs';
import { KeyBackupError } from '../errors.js';
import { printable, quote } from '../encoding/quote.js';
import { didYouMean, type Command } from './command.js';
import { InputError, Interrupted, LOOKALIKE, UsageError } from './errors.js';
import { type Terminal } from './terminal.js';

/** Every command, loaded only when it is asked for. */
export const COMMANDS: Readonly<Record<string, () => Promise<{ readonly command: Command }>>> = {
  keygen: () => import('./commands/keygen.js'),
  'mac-key': () => import('./commands/mac-key.js'),
  encrypt: () => import('./commands/encrypt.js'),
  decrypt: () => import('./commands/decrypt.js'),
  authenticate: () => import('./commands/authenticate.js'),
  verify: () => import('./commands/verify.js'),
  versions: () => import('./commands/versions.js'),
  upload: () => import('./commands/upload.js'),
  restore: () => import('./commands/restore.js'),
  diagnose: () => import('./commands/diagnose.js'),
  save: () => import('./commands/save.js'),
  rescue: () => import('./commands/rescue.js'),
  export: () => import('./commands/export.js'),
  serve: () => import('./commands/serve.js'),
  migrate: () => import('./commands/migrate.js'),
  audit: () => import('./commands/audit.js'),
  'erase-user': () => import('./commands/erase-user.js'),
  conformance: () => import('./commands/conformance.js'),
  completion: async () => ({
    command: (await import('./commands/completion.js')).completionOf(allCommands),
  }),
};

async function allCommands(): Promise<Command[]> {
  return Promise.all(Object.values(COMMANDS).map(async (load) => (await load()).command));
}

/** Runs one command line. Returns its exit code. */
export async function main(args: readonly string[], terminal: Terminal): Promise<number> {
  const [name, ...rest] = args;
  if (args.length === 0 || isHelp(name) || (name === 'help' && rest.length === 0)) {
    terminal.stdout(await overview());
    return args.length === 0 ? 2 : 0;
  }
  if (name === '--version') {
    terminal.stdout(`${version()}\n`);
    return 0;
  }
  const wanted = name === 'help' ? rest[0] : name;
  if (!Object.hasOwn(COMMANDS, wanted)) {
    const near = didYouMean(wanted, [...Object.keys(COMMANDS), 'help', '--help', '--version']);
    terminal.stderr(`megolm-backup: unknown command ${quote(wanted)}${near}; see megolm-backup --help\n`);
    return 2;
  }
  const { command } = await COMMANDS[wanted]();
  if (name === 'help' || rest.some(isHelp)) {
    terminal.stdout(command.help);
    return 0;
  }
  try {
    return await command.run(rest, terminal);
  } catch (error) {
    return explain(name, error, terminal);
  }
}

function isHelp(argument: string): boolean {
  return argument === '--help' || argument === '-h';
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function overview(): Promise<string> {
  const commands = await allCommands();
  const width = Math.max(...commands.map(({ name }) => name.length));
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`);
  return `Matrix server-side key backup (m.megolm_backup.v1.curve25519-aes-sha2)

usage: megolm-backup COMMAND [arguments]

${lines.join('\n')}

"megolm-backup help COMMAND" says more about a command, "megolm-backup --version" which version this is.
Exit codes: 0 all well; 1 it ran, but some keys failed or a check did not hold; 2 wrong usage, unreadable
input, or no way to the server.
`;
}

/** Commands that are often given the key of the secret storage. */
const READERS: readonly string[] = ['decrypt', 'restore', 'diagnose', 'versions'];

function explain(name: string, error: unknown, terminal: Terminal): number {
  const say = (message: string) => {
    terminal.stderr(`megolm-backup ${name}: ${printable(message)}\n`);
  };
  const { signal } = terminal;
  if (signal.aborted) {
    // When standard output failed, the terminal has said so already.
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
