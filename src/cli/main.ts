#!/usr/bin/env node
import { KeyBackupError } from '../engine/errors.js';
import { InputError, UsageError, type Command } from './command.js';
import { processTerminal, type Terminal } from './terminal.js';

/** Every command, loaded only when it is asked for. */
const COMMANDS: Readonly<Record<string, { readonly about: string; readonly load: () => Promise<Command> }>> =
  {
    keygen: { about: 'make a backup decryption key', load: () => import('./keygen.js') },
    encrypt: { about: 'encrypt exported sessions into backup objects', load: () => import('./encrypt.js') },
    decrypt: { about: 'decrypt backup objects into exported sessions', load: () => import('./decrypt.js') },
    verify: {
      about: 'say whether an auth_data is to be trusted, and why',
      load: () => import('./verify.js'),
    },
    audit: { about: 'say which device replaced which key on a server', load: () => import('./audit.js') },
    conformance: {
      about: 'check a server against the specification',
      load: () => import('./conformance.js'),
    },
    'erase-user': { about: 'remove a user from a server', load: () => import('./erase-user.js') },
    serve: { about: 'serve the key backup API', load: () => import('./serve.js') },
    vectors: { about: 'run test vector files', load: () => import('./vectors.js') },
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
    terminal.stderr(`megolm-backup: unknown command ${JSON.stringify(name)}; see megolm-backup --help\n`);
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

function explain(name: string, error: unknown, terminal: Terminal): number {
  if (error instanceof InputError) {
    const hint = error instanceof UsageError ? `; see megolm-backup ${name} --help` : '';
    terminal.stderr(`megolm-backup ${name}: ${error.message}${hint}\n`);
    return 2;
  }
  if (error instanceof KeyBackupError) {
    terminal.stderr(`megolm-backup ${name}: ${error.code}: ${error.message}\n`);
    return 1;
  }
  const { code, message } = error as NodeJS.ErrnoException;
  terminal.stderr(`megolm-backup ${name}: ${code === undefined ? '' : `${code}: `}${message}\n`);
  return 2;
}

process.exitCode = await main(process.argv.slice(2), processTerminal());
