import { readFile, rm } from 'node:fs/promises';
import { reasonOf, rooted } from '../../report/report.js';
import { ownUserId } from '../../client/account.js';
import type { RoomKeys } from '../../client/api.js';
import { createBackup } from '../../client/backup.js';
import {
  uploadSessions,
  type UploadOptions,
  type UploadOutcome,
  type UploadState,
} from '../../client/upload.js';
import { isJsonObject } from '../../encoding/json.js';
import { excerpt, printable } from '../../encoding/quote.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import { BackupPublicKey, type BackupDecryptionKey } from '../../scheme/keys.js';
import type { BackupFault } from '../../wire/backup-item.js';
import type { VersionInfo } from '../../wire/types.js';
import { defineCommand } from '../command.js';
import { InputError, UsageError } from '../errors.js';
import { openKeysFile, type KeysFile } from '../files.js';
import { NO_BACKUP, connect, withServer } from '../homeserver.js';
import {
  BACKUP_MAC,
  BIND_ROOM_ID,
  HOMESERVER,
  JSON_SUMMARY,
  KEY_FILE,
  TRUSTED_KEY,
  VERIFIED,
} from '../options.js';
import { writeStateFile } from '../outputs.js';
import { withProgress } from '../results.js';
import { chooseMacKey, parseSigningKey, readKeyFile, wantsMac } from '../secrets.js';
import type { Terminal } from '../terminal.js';

/** How often the state is written, in milliseconds; it is written at the end as well. */
const SAVE_EVERY = 5_000;

export const command = defineCommand({
  name: 'upload',
  summary: 'encrypt exported sessions and upload them',
  usage: [
    'EXPORT.json --homeserver WHERE --key-file FILE [options]',
    'EXPORT.json --homeserver WHERE --key ed25519:ID=BASE64 [options]',
  ],
  description: `
Encrypts exported sessions, an array of ExportedSessionData, and uploads them to the current backup, if the key
fits it; a device that may write but not read names a key that has signed the backup instead. If interrupted,
the same command resumes: EXPORT.json.upload-state records its progress.
`,
  arguments: ['EXPORT.json'],
  options: {
    ...HOMESERVER,
    ...KEY_FILE,
    ...TRUSTED_KEY,
    create: { help: 'make a backup with the decryption key if the account has no backup' },
    'skip-stored': {
      help: 'first ask what the backup has, and leave out what it has in an equal or better form',
    },
    ...BACKUP_MAC,
    ...BIND_ROOM_ID,
    ...VERIFIED,
    ...JSON_SUMMARY,
  },
  exitCodes: `Exit code 0 when every session was uploaded, 1 when some were not, or when the backup is not the key's or
    not to be trusted, 2 when there is no way to the server.`,
  example:
    'megolm-backup upload export.json --homeserver @alice:example.org --token-file token.txt --key-file key.txt',
  async run({ keyFile, macKeyFile, create, verified, bindRoomId, ...options }, terminal, path) {
    const { skipStored, backupMac } = options;
    const trustedKeys = options.key.map(parseSigningKey);
    // With a trusted signature, no decryption key is asked for.
    const hasKey = keyFile !== undefined || trustedKeys.length === 0;
    const withMac = wantsMac({ backupMac, macKeyFile, bindRoomId }, hasKey);
    if (!hasKey && create) throw new UsageError('--create needs --key-file');
    const key = hasKey ? await readKeyFile(keyFile, terminal) : undefined;
    let macKey: UploadOptions['macKey'];
    try {
      const roomKeys = await connect(options, terminal);
      const { signal } = terminal;
      const info = await withServer(() => findBackup(roomKeys, create ? key : undefined, terminal));
      key?.expectMatch(info.auth_data);
      const publicKey = BackupPublicKey.fromAuthData(info.auth_data);
      macKey = await chooseMacKey(macKeyFile, withMac, publicKey, key, terminal);
      const userId = key ? '' : await withServer(() => ownUserId(roomKeys, { signal }));
      const settings: UploadOptions = {
        trust: { userId, trustedKeys, decryptionKey: key },
        skipStored,
        isVerified: verified,
        macKey,
        bindRoomId,
        signal,
      };
      const outcome = await upload(roomKeys, info, path, settings, terminal);
      tell(outcome, options.json, terminal);
      const { failures, unreadable } = outcome;
      return outcome.outcome === 'complete' && failures.length + unreadable === 0 ? 0 : 1;
    } finally {
      macKey?.dispose();
      key?.dispose();
    }
  },
});

async function findBackup(
  roomKeys: RoomKeys,
  create: BackupDecryptionKey | undefined,
  terminal: Terminal,
): Promise<VersionInfo> {
  const { signal } = terminal;
  const info = await roomKeys.currentVersion({ signal });
  if (info) return info;
  if (!create) throw new InputError(`${NO_BACKUP} If so, --create makes one`);
  const { publicKey } = create;
  const created = await createBackup(roomKeys, { publicKey, signal });
  terminal.stderr(`made backup version ${excerpt(created.version)}; no device has signed it\n`);
  return created;
}

/** How an upload ended, and how many places in the file held no session. */
interface Outcome extends UploadOutcome {
  readonly unreadable: number;
}

async function upload(
  roomKeys: RoomKeys,
  info: VersionInfo,
  file: string,
  options: UploadOptions,
  terminal: Terminal,
): Promise<Outcome> {
  // Standard input cannot be read again, so there is nothing to resume.
  const statePath = file === '-' ? undefined : `${file}.upload-state`;
  let state = statePath === undefined ? undefined : await readState(statePath, info, terminal);
  let saved = Date.now();
  const input = openKeysFile(file, 'array', terminal);
  let unreadable = 0;
  const onUnreadable = ({ path, error }: BackupFault) => {
    unreadable++;
    terminal.stderr(`${rooted(path)}: ${error.code}: ${printable(error.message)}\n`);
  };
  const save = async () => {
    if (state && statePath !== undefined) await writeStateFile(statePath, `${JSON.stringify(state)}\n`);
    saved = Date.now();
  };
  try {
    const outcome = await withProgress(terminal, (show) =>
      withServer(() =>
        uploadSessions(roomKeys, info, sessions(input.items, onUnreadable), {
          ...options,
          state,
          onState: async (reached) => {
            state = reached;
            if (Date.now() - saved >= SAVE_EVERY) await save();
          },
          onProgress: ({ done }) => {
            show(done, input.share);
          },
          onFailed: ({ session_id, error }) => {
            terminal.stderr(`${excerpt(session_id ?? 'a session')}: ${error.code}: ${error.message}\n`);
          },
        }),
      ),
    );
    if (outcome.outcome !== 'complete') await save();
    else if (statePath !== undefined) await rm(statePath, { force: true });
    return { ...outcome, unreadable };
  } catch (error) {
    await save();
    if (state && statePath !== undefined) {
      terminal.stderr(`${state.position} sessions are done; the same command resumes there (${statePath})\n`);
    }
    throw error;
  } finally {
    await input.items.return();
  }
}

/** Every entry of the file that is JSON; the engine checks the rest. */
async function* sessions(
  items: KeysFile['items'],
  onUnreadable: (fault: BackupFault) => void,
): AsyncGenerator<ExportedSessionData, void, undefined> {
  for await (const item of items) {
    if (item.error) onUnreadable(item);
    else yield item.key_backup_data as ExportedSessionData;
  }
}

/** Where an earlier run stopped; `undefined` if there was none, or it was of another backup. */
async function readState(
  path: string,
  info: VersionInfo,
  terminal: Terminal,
): Promise<UploadState | undefined> {
  let state: unknown;
  try {
    state = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    if (!(error instanceof SyntaxError)) return undefined;
  }
  if (isUploadState(state) && state.version === info.version) {
    terminal.stderr(`resuming after ${state.position} sessions (${path})\n`);
    return state;
  }
  terminal.stderr(`${path} belongs to another backup or is damaged, and is not used\n`);
  return undefined;
}

function isUploadState(value: unknown): value is UploadState {
  if (!isJsonObject(value)) return false;
  const { version, etag, position, input_hash } = value;
  return (
    [version, etag, input_hash].every((text) => typeof text === 'string') && Number.isSafeInteger(position)
  );
}

function tell(ended: Outcome, json: boolean, terminal: Terminal): void {
  const { state: _state, etag: _etag, failures, unreadable, flagged, ...numbers } = ended;
  const { outcome, uploaded, skipped, count, changedElsewhere, currentVersion } = numbers;
  const failed = failures.length + unreadable;
  if (json) {
    terminal.stdout(`${JSON.stringify({ ...numbers, failed, flagged: flagged.length })}\n`);
    return;
  }
  for (const { session_id, flags } of flagged) terminal.stderr(`${session_id}: ${reasonOf(flags)}\n`);
  const notes = flagged.length > 0 ? `, ${flagged.length} of them flagged` : '';
  terminal.stderr(
    `${uploaded} uploaded${notes}, ${skipped} skipped, ${failed} failed; the backup has ${count ?? 'uncounted'} keys\n`,
  );
  if (outcome !== 'complete') {
    const now =
      currentVersion === undefined
        ? 'the account has no backup now'
        : `the current one is ${excerpt(currentVersion)}`;
    terminal.stderr(`the backup was ${outcome} during the upload; ${now}\n`);
  }
  if (changedElsewhere) terminal.stderr('another client is changing this backup too\n');
}
