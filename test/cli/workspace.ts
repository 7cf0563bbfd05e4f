import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, inject } from 'vitest';
import { createAuthData, ed25519Signer, signAuthData } from '../../src/scheme/auth-data.js';
import { base64Encode } from '../../src/encoding/base64.js';
import { encryptSession } from '../../src/batch/encrypt.js';
import { publicSigningKeyOf } from '../../src/curve25519/ed25519.js';
import { BackupDecryptionKey, type BackupPublicKey } from '../../src/scheme/keys.js';
import { encryptSessionData } from '../../src/scheme/session-data.js';
import type { ExportedSessionData, KeyBackupData } from '../../src/formats/room-key.js';
import { runHere } from './captured-terminal.js';

export const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** The command line that most tests begin with: `key.txt` is in every {@link Workspace}. */
export const DECRYPT = ['decrypt', 'backup.json', '--key-file', 'key.txt'] as const;

export const USER = '@alice:example.org';

/** How a run of the command line ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** What standard input holds; nothing by default. */
  readonly stdin?: string;
  /** Options of node itself; they ask for a process. */
  readonly node?: readonly string[];
  /** In the quick tier too, runs what is built, in a process of its own. */
  readonly outside?: boolean;
}

/** Waits for a process and gathers what it prints. */
export async function ended(child: ChildProcess): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      resolve({ code, signal, stdout, stderr });
    });
  });
}

/** A temporary folder in which the command line runs, gone when the tests are over. */
export class Workspace {
  readonly folder = mkdtempSync(join(inject('workspaces'), 'megolm-backup-'));
  readonly key = BackupDecryptionKey.generate();
  /** What must not stand in any message. */
  readonly secrets: string[] = [];

  constructor() {
    const text = this.key.toRecoveryKey();
    this.secrets.push(text, text.replaceAll(' ', ''), this.key.toBase64());
    this.write('key.txt', `${text}\n`);
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  write(name: string, content: string | Uint8Array, mode = 0o600): void {
    writeFileSync(this.path(name), content, { mode });
  }

  writeJson(name: string, value: unknown): void {
    this.write(name, JSON.stringify(value));
  }

  /** What is in the export file `keys.txt`, whose passphrase is in `phrase.txt`. */
  async exported(): Promise<unknown> {
    const passphrase = ['--passphrase-file', 'phrase.txt'];
    await this.run(['export', 'decrypt', 'keys.txt', ...passphrase, '--force', '-o', 'sessions.json']);
    return this.json('sessions.json');
  }

  read(name: string): string {
    return readFileSync(this.path(name), 'utf8');
  }

  json(name: string): unknown {
    return JSON.parse(this.read(name));
  }

  mode(name: string): string {
    return (statSync(this.path(name)).mode & 0o777).toString(8);
  }

  /** The names of all files, hidden ones included, except those given. */
  filesBut(...names: readonly string[]): string[] {
    return readdirSync(this.folder).filter((name) => name !== 'key.txt' && !names.includes(name));
  }

  start(args: readonly string[], { node = [] }: RunOptions = {}): ChildProcess {
    return spawn(process.execPath, [...node, MAIN, ...args], { cwd: this.folder });
  }

  /**
   * Runs the command line and checks on the way that no secret is in a message. In the slow tier that is always what is
   * built, in a process of its own.
   */
  async run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    const outside = process.env.TIER === 'slow' || options.outside === true || options.node !== undefined;
    const end = await (outside
      ? this.#runOutside(args, options)
      : runHere(this.folder, args, options.stdin ?? ''));
    const toFile = args.includes('-o') && args[args.indexOf('-o') + 1] !== '-';
    const messages = end.code === 2 || toFile ? end.stdout + end.stderr : end.stderr;
    this.expectNoSecret(messages);
    // A stack trace: an uncaught error.
    expect(end.stderr).not.toMatch(/^\s+at .*:\d+:\d+/m);
    return end;
  }

  #runOutside(args: readonly string[], options: RunOptions): Promise<Ended> {
    const child = this.start(args, options);
    child.stdin?.on('error', () => undefined).end(options.stdin ?? '');
    return ended(child);
  }

  expectNoSecret(text: string): void {
    for (const secret of this.secrets) expect(text.includes(secret), 'a secret is in a message').toBe(false);
  }

  /** A session whose key and plaintext become secrets. */
  session(fields: Partial<ExportedSessionData> = {}, index = 0): ExportedSessionData {
    const session = syntheticSession(fields, index);
    this.secrets.push(session.session_key, session.session_key.slice(20, 80));
    return session;
  }
}

/** A megolm session export as far as anything but megolm looks at it: version, index, random ratchet and key. */
export function syntheticSession(
  fields: Partial<ExportedSessionData> = {},
  index = 0,
  ed25519: Uint8Array = publicSigningKeyOf(randomBytes(32)),
): ExportedSessionData {
  const bytes = Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), randomBytes(128), ed25519]);
  bytes.writeUInt32BE(index, 1);
  return {
    algorithm: 'm.megolm.v1.aes-sha2',
    forwarding_curve25519_key_chain: [],
    room_id: '!room:example.org',
    sender_claimed_keys: { ed25519: base64Encode(publicSigningKeyOf(randomBytes(32))) },
    sender_key: base64Encode(randomBytes(32)),
    session_id: base64Encode(ed25519),
    session_key: base64Encode(bytes),
    ...fields,
  };
}

export interface BackupFile {
  rooms: Record<string, { sessions: Record<string, KeyBackupData & Record<string, unknown>> }>;
}

/** A backup of sessions, made by the engine. */
export function backupOf(sessions: readonly ExportedSessionData[], key: BackupDecryptionKey): BackupFile {
  const rooms: BackupFile['rooms'] = {};
  for (const session of sessions) {
    const { room_id, session_id, key_backup_data } = encryptSession(session, key.publicKey);
    rooms[room_id] ??= { sessions: {} };
    rooms[room_id].sessions[session_id] = { ...key_backup_data };
  }
  return { rooms };
}

/** A record of any plaintext. */
export function recordOf(plaintext: unknown, publicKey: BackupPublicKey) {
  const text = typeof plaintext === 'string' ? plaintext : JSON.stringify(plaintext);
  const session_data = encryptSessionData(new TextEncoder().encode(text), publicKey);
  return { first_message_index: 0, forwarded_count: 0, is_verified: false, session_data };
}

/** An `auth_data` that a device has signed, and that device's key as `--key` takes it. */
export function signedAuthData(key: BackupDecryptionKey) {
  const seed = randomBytes(32);
  const authData = signAuthData(createAuthData(key.publicKey), [ed25519Signer(USER, seed, 'DEVICE')]);
  return { authData, signer: `ed25519:DEVICE=${base64Encode(publicSigningKeyOf(seed))}` };
}

export interface ReportFile {
  format: string;
  total: number;
  ok: number;
  failed: number;
  flagged: number;
  keys: {
    room_id: string | null;
    session_id: string | null;
    path: string;
    code?: string;
    reason: string;
    flags: string[];
  }[];
}
