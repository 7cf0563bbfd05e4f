import { InputError, UsageError } from '../errors.js';
import { readFile, rm } from 'node:fs/promises';
import { reasonOf } from '../../report/report.js';
import { ownUserId } from '../../client/account.js';
import { createBackup } from '../../client/backup.js';
import type { RoomKeys } from '../../client/api.js';
import {
  uploadSessions,
  type UploadOptions,
  type UploadOutcome,
  type UploadState,
} from '../../client/upload.js';
import type { BackupEntry } from '../../wire/backup-reader.js';
import type { VersionInfo } from '../../wire/types.js';
import { isJsonObject } from '../../encoding/json.js';
import { BackupPublicKey, type BackupDecryptionKey } from '../../scheme/keys.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import { parseSigningKey } from '../auth-data-file.js';
import { parseCommand } from '../command.js';
import { HOMESERVER_ARGUMENTS, HOMESERVER_USAGE, connect, withServer } from '../homeserver.js';
import { openKeysFile } from '../input.js';
import { readKeyFile } from '../key-file.js';
import { MAC_KEY_USAGE, chooseMacKey } from '../mac-key-file.js';
import { ProgressLine } from '../progress.js';
import { writeStateFile } from '../state-file.js';
import type { Terminal } from '../terminal.js';
import { excerpt } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup upload EXPORT.json --homeserver WHERE --key-file FILE [options]
       megolm-backup upload EXPORT.json --homeserver WHERE --key ed25519:ID=BASE64 [options]

Encrypts exported sessions, an array of ExportedSessionData, and uploads them to the current backup, if the key is
its own; a device that may write but not read names a key that has signed the backup instead. Stopped in the middle, it
goes on where it was when the same command runs again: how far it was stands in EXPORT.json.upload-state.

${HOMESERVER_USAGE}  --key-file FILE    the backup decryption key, in its text form ("recovery key") or base64; - is standard input
  --key ed25519:ID=BASE64
                     instead: a trusted key that has signed the backup, a verified device's, or the master key; may
                     be repeated
  --create           make a backup with the decryption key when there is none
  --skip-stored      first ask what the backup has, and leave out what it has in an equal or better form
  --skip-authenticated
                     with a backup_mac: the same, but leave out only what also has a right backup_mac. A server keeps
                     the old one of two records that are equally good: it is asked afterwards what it kept
  --backup-mac       add a backup_mac (MSC4048) to every record, so that readers can tell them from what the server
                     may add, by the key derived from the decryption key. You vouch with it for every session in
                     the file but the forwarded ones.
${MAC_KEY_USAGE}  --bind-room-id     with a backup_mac: add a copy of the room id, so that a moved record is noticed
  --verified         write is_verified true: the devices that gave the keys were verified
  --json             print the numbers as JSON

Exit code 0 when every session was uploaded, 1 when some were not, when the server kept records without a right
backup_mac, or when the backup is not the key's or not to be trusted, 2 when there is no way to the server.

example:
  megolm-backup upload export.json --homeserver @alice:example.org --token-file token.txt --key-file key.txt
`;

/** How often the state is written, in milliseconds; it is written at the end as well. */
const SAVE_EVERY = 5_000;

/** `megolm-backup upload` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const options = {
    ...HOMESERVER_ARGUMENTS,
    'key-file': { type: 'string' },
    key: { type: 'string', multiple: true },
    create: { type: 'boolean' },
    'skip-stored': { type: 'boolean' },
    'skip-authenticated': { type: 'boolean' },
    'backup-mac': { type: 'boolean' },
    'mac-key-file': { type: 'string' },
    'bind-room-id': { type: 'boolean' },
    verified: { type: 'boolean' },
    json: { type: 'boolean' },
  } as const;
  const { values, positionals } = parseCommand(args, options, ['EXPORT.json']);
  const [file] = positionals;
  const bindRoomId = values['bind-room-id'] === true;
  const { 'key-file': keyFile, 'mac-key-file': macKeyFile, key: signers = [] } = values;
  const trustedKeys = signers.map(parseSigningKey);
  const withMac = values['backup-mac'] === true || macKeyFile !== undefined;
  const byMac = values['skip-authenticated'] === true;
  if (!withMac && (bindRoomId || byMac)) {
    throw new UsageError('--bind-room-id and --skip-authenticated need --backup-mac or --mac-key-file');
  }
  // Who names a signature has no key to be asked for.
  const hasKey = keyFile !== undefined || trustedKeys.length === 0;
  if (!hasKey && withMac && macKeyFile === undefined) {
    throw new UsageError('a backup_mac needs --key-file, from which its key is derived, or --mac-key-file');
  }
  if (!hasKey && values.create === true) throw new UsageError('--create needs --key-file');
  if ([keyFile, macKeyFile, values['token-file']].filter((path) => path === '-').length > 1) {
    throw new UsageError('standard input holds one line: give the other secrets as files');
  }
  const key = hasKey ? await readKeyFile(keyFile, terminal) : undefined;
  let macKey: UploadOptions['macKey'];
  try {
    const roomKeys = await connect(values, terminal);
    const { signal } = terminal;
    const create = values.create === true ? key : undefined;
    const info = await withServer(() => findBackup(roomKeys, create, terminal));
    key?.expectMatch(info.auth_data);
    const publicKey = BackupPublicKey.fromAuthData(info.auth_data);
    macKey = await chooseMacKey(macKeyFile, withMac, publicKey, key, terminal);
    const userId = key ? '' : await withServer(() => ownUserId(roomKeys, { signal }));
    const backup = { roomKeys, info };
    const outcome = await upload(
      backup,
      file,
      {
        trust: { userId, trustedKeys, ...(key && { decryptionKey: key }) },
        skipStored: byMac ? 'authenticated' : values['skip-stored'] === true,
        isVerified: values.verified === true,
        macKey,
        bindRoomId,
      },
      terminal,
    );
    tell(outcome, values.json === true, terminal);
    const { failures, kept } = outcome;
    return outcome.outcome === 'complete' && failures.length === 0 && kept === 0 ? 0 : 1;
  } finally {
    macKey?.dispose();
    key?.dispose();
  }
}

async function findBackup(
  roomKeys: RoomKeys,
  create: BackupDecryptionKey | undefined,
  terminal: Terminal,
): Promise<VersionInfo> {
  const { signal } = terminal;
  const info = await roomKeys.currentVersion({ signal });
  if (info) return info;
  if (!create) throw new InputError('there is no backup; --create makes one');
  const { publicKey } = create;
  const created = await createBackup(roomKeys, { publicKey, signal });
  terminal.stderr(`made backup version ${excerpt(created.version)}; no device has signed it\n`);
  return created;
}

/** Where to upload to. */
interface Backup {
  readonly roomKeys: RoomKeys;
  readonly info: VersionInfo;
}

async function upload(
  { roomKeys, info }: Backup,
  file: string,
  options: UploadOptions,
  terminal: Terminal,
): Promise<UploadOutcome> {
  const statePath = `${file}.upload-state`;
  let state = await readState(statePath, info, terminal);
  let saved = Date.now();
  const input = openKeysFile(file, 'array');
  const progress = new ProgressLine(terminal);
  const save = async () => {
    if (state) await writeStateFile(statePath, Buffer.from(`${JSON.stringify(state)}\n`));
    saved = Date.now();
  };
  try {
    const outcome = await withServer(() =>
      uploadSessions(roomKeys, info, sessions(input.items), {
        ...options,
        state,
        signal: terminal.signal,
        onState: async (reached) => {
          state = reached;
          if (Date.now() - saved >= SAVE_EVERY) await save();
        },
        onProgress: ({ done }) => {
          progress.update(done, input.share);
        },
        onFailed: ({ session_id, error }) => {
          progress.clear();
          terminal.stderr(`${excerpt(session_id ?? 'a session')}: ${error.code}: ${error.message}\n`);
        },
      }),
    );
    if (outcome.outcome === 'complete') await rm(statePath, { force: true });
    else await save();
    return outcome;
  } catch (error) {
    progress.clear();
    await save();
    if (state) {
      terminal.stderr(
        `${state.position} sessions are done; the same command goes on from there (${statePath})\n`,
      );
    }
    throw error;
  } finally {
    progress.clear();
    await input.items.return();
  }
}

/** What the file holds. What is no session is given on all the same: the engine says so, and it is counted. */
async function* sessions(
  items: ReturnType<typeof openKeysFile>['items'],
): AsyncGenerator<ExportedSessionData, void, undefined> {
  for await (const { value } of items as AsyncGenerator<BackupEntry>) yield value as ExportedSessionData;
}

/** Where an earlier run stopped; nothing when there was none, or it was of another backup. */
async function readState(
  path: string,
  info: VersionInfo,
  terminal: Terminal,
): Promise<UploadState | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return undefined;
  }
  try {
    const state = JSON.parse(text) as unknown;
    if (isUploadState(state) && state.version === info.version) {
      terminal.stderr(`going on after ${state.position} sessions (${path})\n`);
      return state;
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  terminal.stderr(`${path} is of another backup or damaged, and is not used\n`);
  return undefined;
}

function isUploadState(value: unknown): value is UploadState {
  if (!isJsonObject(value)) return false;
  const { version, etag, position, input_hash } = value;
  return (
    [version, etag, input_hash].every((text) => typeof text === 'string') && Number.isSafeInteger(position)
  );
}

function tell(outcome: UploadOutcome, json: boolean, terminal: Terminal): void {
  const { uploaded, skipped, kept, failures, flagged, count, changedElsewhere, currentVersion } = outcome;
  if (json) {
    const numbers = {
      outcome: outcome.outcome,
      currentVersion,
      uploaded,
      skipped,
      kept,
      failed: failures.length,
      flagged: flagged.length,
      count,
    };
    terminal.stdout(`${JSON.stringify({ ...numbers, changedElsewhere })}\n`);
    return;
  }
  for (const { session_id, flags } of flagged) terminal.stderr(`${session_id}: ${reasonOf(flags)}\n`);
  const notes = flagged.length > 0 ? `, ${flagged.length} of them flagged` : '';
  terminal.stderr(
    `${uploaded} uploaded${notes}, ${skipped} skipped, ${failures.length} failed; the backup has ${count} keys\n`,
  );
  if (outcome.outcome !== 'complete') {
    const now =
      currentVersion === undefined ? 'there is none now' : `the current one is ${excerpt(currentVersion)}`;
    terminal.stderr(`the backup was ${outcome.outcome} meanwhile; ${now}\n`);
  }
  if (kept > 0) {
    terminal.stderr(
      `the server kept ${kept} old records without a right backup_mac: they are as good to it. Delete them first, or ` +
        `"authenticate --new-version" puts everything into a new version\n`,
    );
  }
  if (changedElsewhere) terminal.stderr('somebody else is changing this backup, too\n');
}
