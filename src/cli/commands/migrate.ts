import { UsageError } from '../errors.js';
import { ownUserId } from '../../client/account.js';
import { copyBackup, type CopyOutcome } from '../../client/copy-backup.js';
import { discoverHomeserver } from '../../client/discovery.js';
import { RequestError } from '../../client/http-error.js';
import { RoomKeys } from '../../client/api.js';
import { KeyBackupError } from '../../errors.js';
import { parseCommand } from '../command.js';
import { expectUrl, findHomeserver, tellRetry, withServer } from '../homeserver.js';
import { ProgressLine } from '../progress.js';
import type { Terminal } from '../terminal.js';
import { readUsersFile, type MigratingUser } from '../users-file.js';
import { excerpt, printable, quote } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup migrate --from WHERE --to WHERE --users FILE [--replace] [--json]

Copies the current backups of users from another server to this one, through the API and with the users' access tokens:
every record as it is, nothing decrypted, nothing deleted. It may be repeated: a user who has a copy already gets what
is new, and of two records of a session the better one stays.

  --from WHERE   the server that has the backups: a URL, a server name or a user id
  --to WHERE     the server that shall have them, likewise
  --users FILE   [{"user_id": ID, "from_token": TOKEN, "to_token": TOKEN}]; without to_token, from_token is used
  --replace      a user who has another backup at the destination gets a new version there, which then is the current
                 one. Only before clients use the destination: afterwards it would hide their new backup.
  --json         print the outcomes as JSON

Exit code 0 when every user's keys are there, 1 when some user's or some keys are not, 2 when there is no way to the
servers.

example:
  megolm-backup migrate --from https://matrix.example.org --to http://127.0.0.1:8009 --users users.json
`;

/** What is printed of a user with `--json`. */
interface UserOutcome extends Partial<Omit<CopyOutcome, 'outcome' | 'failures'>> {
  readonly user_id: string;
  readonly outcome: CopyOutcome['outcome'] | 'failed';
  readonly code?: string;
  readonly reason?: string;
  readonly failures: readonly KeyFailure[];
}

interface KeyFailure {
  readonly room_id: string | undefined;
  readonly session_id: string | undefined;
  readonly code: string;
  readonly reason: string;
}

/** `megolm-backup migrate` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    {
      from: { type: 'string' },
      to: { type: 'string' },
      users: { type: 'string' },
      replace: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    [],
  );
  const { from, to, users: usersFile } = values;
  if (from === undefined || to === undefined || usersFile === undefined) {
    throw new UsageError('give --from WHERE, --to WHERE and --users FILE');
  }
  const users = await readUsersFile(usersFile, terminal);
  const [source, destination] = [await reach('--from', from, terminal), await reach('--to', to, terminal)];
  if (source === destination) throw new UsageError('--from and --to are the same server');
  const outcomes: UserOutcome[] = [];
  for (const user of users) {
    const outcome = await migrate(user, { source, destination, replace: values.replace === true }, terminal);
    outcomes.push(outcome);
    if (values.json !== true) terminal.stdout(`${printable(user.user_id)}  ${sentence(outcome)}\n`);
  }
  const well = outcomes.filter(isWell).length;
  const failed = outcomes.length - well;
  if (values.json === true) terminal.stdout(`${JSON.stringify({ ok: well, failed, users: outcomes })}\n`);
  else terminal.stderr(`${well} of ${outcomes.length} users; ${failed} failed\n`);
  return failed === 0 ? 0 : 1;
}

/**
 * The URL of a server that answers, whatever it answers: a server that has nothing but backups knows no other request.
 *
 * @throws {@link InputError} when there is no way to it.
 */
async function reach(option: string, where: string, terminal: Terminal): Promise<string> {
  if (!/^https?:/i.test(where)) return findHomeserver(option, where, terminal);
  expectUrl(option, where);
  const { signal } = terminal;
  return withServer(async () => {
    try {
      return await discoverHomeserver(where, { signal, retries: 2 });
    } catch (error) {
      if (!(error instanceof RequestError) || error.status === undefined) throw error;
      return where.replace(/\/+$/, '');
    }
  });
}

interface Way {
  readonly source: string;
  readonly destination: string;
  readonly replace: boolean;
}

async function migrate(user: MigratingUser, way: Way, terminal: Terminal): Promise<UserOutcome> {
  const { signal } = terminal;
  const { user_id, from_token, to_token } = user;
  // A server may say back to us what we sent it.
  const shown = (text: string): string => text.replaceAll(from_token, '***').replaceAll(to_token, '***');
  const progress = new ProgressLine(terminal);
  const tell = (text: string): void => {
    progress.clear();
    terminal.stderr(`${printable(`${user_id}: ${shown(text)}`)}\n`);
  };
  const onRetry = tellRetry((text) => {
    tell(text.trimEnd());
  });
  const connect = (baseUrl: string, accessToken: string) => new RoomKeys({ baseUrl, accessToken, onRetry });
  const failures: KeyFailure[] = [];
  try {
    const source = connect(way.source, from_token);
    const destination = connect(way.destination, to_token);
    await expectUser(source, user_id, 'from_token', signal);
    await expectUser(destination, user_id, 'to_token', signal);
    const outcome = await copyBackup(source, destination, {
      signal,
      replace: way.replace,
      onProgress: ({ done, total }) => {
        progress.update(done, total === undefined ? undefined : Math.min(1, done / Math.max(total, 1)));
      },
      onFailed: ({ room_id, session_id, error: { code, message } }) => {
        failures.push({ room_id, session_id, code, reason: shown(message) });
        const [room, session] = [room_id, session_id].map((id) => excerpt(id ?? 'unknown'));
        tell(`room ${room}, session ${session}: ${code}: ${message}`);
      },
    });
    const { sourceVersion, version } = outcome;
    if (sourceVersion !== undefined && sourceVersion === version && isUnguessable(version)) {
      const reason =
        '--from leads to the server of --to; name the old server itself, not the proxy before it';
      return { user_id, outcome: 'failed', code: 'bad-parameters', reason, failures };
    }
    return { user_id, ...outcome, failures };
  } catch (error) {
    if (signal.aborted || !(error instanceof KeyBackupError)) throw error;
    const { code, message } = error;
    return { user_id, outcome: 'failed', code, reason: shown(message), failures };
  } finally {
    progress.clear();
  }
}

/** A mistake in the file would give one user another's keys. A server that cannot say whose token it is passes. */
async function expectUser(
  roomKeys: RoomKeys,
  userId: string,
  field: 'from_token' | 'to_token',
  signal: Terminal['signal'],
): Promise<void> {
  let owner: string;
  try {
    owner = await ownUserId(roomKeys, { signal });
  } catch (error) {
    if (error instanceof RequestError && error.status === 404) return;
    throw error;
  }
  if (owner !== userId) {
    throw new KeyBackupError(
      'bad-parameters',
      `${field}: expected a token of this user, got one of ${quote(owner)}`,
    );
  }
}

/** Servers that count their versions give the same ones as others do; ids like ours are never given twice. */
function isUnguessable(version: string): boolean {
  return version.length > 10 && /\D/.test(version);
}

function isWell({ outcome }: UserOutcome): boolean {
  return outcome === 'complete' || outcome === 'no-backup';
}

function sentence({ outcome, failures, ...rest }: UserOutcome): string {
  const { copied = 0, count = 0, sourceCount = 0, version = '', created, sourceChanged } = rest;
  const keys = `${copied} keys copied to ${created ? 'the new version' : 'version'} ${excerpt(version)}, which has ${count}`;
  switch (outcome) {
    case 'complete':
      return keys + (sourceChanged ? '; the source has changed meanwhile, so run it again' : '');
    case 'incomplete':
      return `INCOMPLETE: ${keys}; ${failures.length} failed, the source has ${sourceCount}`;
    case 'replaced':
      return `REPLACED at the source meanwhile, so run it again: ${keys}`;
    case 'no-backup':
      return 'has no backup, skipped';
    case 'other-backup':
      return `NOT COPIED: the destination has another backup, version ${excerpt(version)}; see --replace`;
    case 'failed':
      return `FAILED: ${printable(`${rest.code ?? ''}: ${rest.reason ?? ''}`)}`;
  }
}
