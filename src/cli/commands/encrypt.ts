import { UsageError } from '../errors.js';
import { encryptSessions } from '../../backends/auto.js';
import { nodeBackend } from '../../backends/node.js';
import type { EncryptSettings } from '../../batch/encrypt.js';
import type { BackupPublicKey } from '../../scheme/keys.js';
import type { UnauthenticatedSource } from '../../scheme/provenance.js';
import type { ExportedSessionData } from '../../formats/room-key.js';
import { BackupObjects } from '../backup-objects.js';
import { parseCommand } from '../command.js';
import { keysInFlight, openKeysFile } from '../input.js';
import { MAC_KEY_USAGE } from '../mac-key-file.js';
import { openOutput } from '../output.js';
import { ProgressLine } from '../progress.js';
import { chooseRecipient } from '../recipient.js';
import { Report, rooted } from '../../report/report.js';
import type { Terminal } from '../terminal.js';
import { printable } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup encrypt EXPORT.json RECIPIENT [options]

Encrypts exported sessions, an array of ExportedSessionData, into backup objects:
{"rooms":{ROOM:{"sessions":{SESSION:KeyBackupData}}}}, the body of PUT /room_keys/keys.

RECIPIENT says what to encrypt to, one of:
  --public-key BASE64                       this public key
  --key-file FILE                           the public key of this backup decryption key; - is standard input
  --auth-data FILE --key-file FILE          the backup with this auth_data, if the key is its own
  --auth-data FILE --user ID --key ed25519:ID=BASE64 [--key ...]
                                            the backup with this auth_data, if a trusted key has signed it
  --auth-data FILE --trust-unverified       the backup with this auth_data, whoever made it: its maker will be able
                                            to read every key
options:
  --backup-mac       add a backup_mac (MSC4048) to every record, so that readers can tell them from what the server
                     may add, by the key derived from the one in --key-file. You vouch with it for every session in
                     the file, except those with a forwarding chain, which are declared m.forwarded_room_key
${MAC_KEY_USAGE}  --bind-room-id     with a backup_mac: add a copy of the room id, so that "decrypt" notices a moved record
  --unauthenticated SOURCE
                     with a backup_mac: vouch for none of the sessions, and say where they are from: m.legacy-v1,
                     m.forwarded_room_key or m.undefined
  --verified         write is_verified true: the devices that gave the keys were verified
  -o, --output FILE  where the backup objects go; without it, standard output
  --json             with -o: print the numbers as JSON

Exit code 0 when every session was encrypted, 1 when some were not or the auth_data is not trusted.

example:
  megolm-backup encrypt export.json --public-key hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo -o backup.json
`;

/** `megolm-backup encrypt` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseCommand(
    args,
    {
      'public-key': { type: 'string' },
      'key-file': { type: 'string' },
      'auth-data': { type: 'string' },
      user: { type: 'string' },
      key: { type: 'string', multiple: true },
      'trust-unverified': { type: 'boolean' },
      'backup-mac': { type: 'boolean' },
      'mac-key-file': { type: 'string' },
      'bind-room-id': { type: 'boolean' },
      unauthenticated: { type: 'string' },
      verified: { type: 'boolean' },
      output: { type: 'string', short: 'o' },
      json: { type: 'boolean' },
    },
    ['EXPORT.json'],
  );
  const source = parseSource(values.unauthenticated);
  const macKeyFile = values['mac-key-file'];
  const withMac = values['backup-mac'] === true || macKeyFile !== undefined;
  if (!withMac && (source !== undefined || values['bind-room-id'] === true)) {
    throw new UsageError('--bind-room-id and --unauthenticated need --backup-mac or --mac-key-file');
  }
  const { publicKey, macKey } = await chooseRecipient(
    {
      publicKey: values['public-key'],
      keyFile: values['key-file'],
      macKeyFile,
      withMac,
      authData: values['auth-data'],
      user: values.user,
      keys: values.key ?? [],
      trustUnverified: values['trust-unverified'] === true,
    },
    terminal,
  );
  const report = new Report(({ path }, { code, message }) => {
    // A message about a record that is no JSON names its path by itself.
    const why = message.replace(`${path}: `, '');
    terminal.stderr(`${rooted(path)}: ${code}: ${printable(why)}\n`);
  });
  const settings: EncryptSettings = {
    isVerified: values.verified === true,
    macKey,
    bindRoomId: values['bind-room-id'] === true,
    unauthenticated: source && (() => source),
  };
  const backup = new BackupObjects();
  const output = await openOutput(values.output, terminal);
  try {
    await encryptFile(positionals[0], publicKey, settings, report, backup, terminal);
    for (const piece of backup.json()) await output.write(piece);
    await output.commit();
  } catch (error) {
    await output.discard();
    throw error;
  } finally {
    macKey?.dispose();
  }
  if (values.json === true && values.output !== undefined) {
    const codes = Object.fromEntries(report.codes);
    terminal.stdout(`${JSON.stringify({ ...report.summary, duplicates: backup.duplicates, codes })}\n`);
  } else {
    terminal.stderr(report.text);
    if (backup.duplicates > 0) {
      terminal.stderr(
        `${backup.duplicates} sessions were there more than once; the copy that reads most was taken\n`,
      );
    }
  }
  return report.failed === 0 ? 0 : 1;
}

const SOURCES: readonly UnauthenticatedSource[] = ['m.legacy-v1', 'm.forwarded_room_key', 'm.undefined'];

function parseSource(text: string | undefined): UnauthenticatedSource | undefined {
  const source = SOURCES.find((known) => known === text);
  if (text !== undefined && !source) {
    throw new UsageError(`--unauthenticated: expected one of ${SOURCES.join(', ')}`);
  }
  return source;
}

async function encryptFile(
  path: string,
  publicKey: BackupPublicKey,
  settings: EncryptSettings,
  report: Report,
  backup: BackupObjects,
  terminal: Terminal,
): Promise<void> {
  const file = openKeysFile(path, 'array');
  const progress = new ProgressLine(terminal);
  const onProgress = () => {
    progress.update(report.ok + report.failed, file.share);
  };
  try {
    // The engine checks what it is given; nothing is assumed here.
    const keys = keysInFlight(file, report, ({ value }) => value as ExportedSessionData);
    const options = { ...settings, backend: nodeBackend(), signal: terminal.signal, onProgress };
    for await (const result of encryptSessions(keys.inputs, publicKey, options)) {
      const place = keys.nextPlace();
      if (result.ok) {
        backup.add(result);
        report.succeeded(place);
      } else {
        report.refused(place, result.error);
      }
    }
  } finally {
    progress.clear();
  }
}
