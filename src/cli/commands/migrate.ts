import type { Stats } from 'node:fs';
import { pastedToken } from '../../client/access-token.js';
import { ownUserId } from '../../client/account.js';
import { RoomKeys } from '../../client/api.js';
import type { FailedUpload } from '../../client/batch-sender.js';
import { copyBackup, type CopyOutcome } from '../../client/copy-backup.js';
import { discoverHomeserver } from '../../client/discovery.js';
import { RequestError } from '../../client/http-error.js';
import { isJsonObject } from '../../encoding/json.js';
import { excerpt, printable, quote } from '../../encoding/quote.js';
import { KeyBackupError } from '../../errors.js';
import { defineCommand, isUserId } from '../command.js';
import { InputError, UsageError } from '../errors.js';
import { readJson } from '../files.js';
import { expectUrl, findHomeserver, tellRetry, withServer } from '../homeserver.js';
import { shareOf, withProgress } from '../results.js';
import { warnIfReadable } from '../secrets.js';
import type { Terminal } from '../terminal.js';

export const command = defineCommand({
  name: 'migrate',
  summary: "copy users' backups from another server to this one",
  description: `
Copies the current backups of users from another server to this one, through the API and with the users' access
tokens: every record as it is, nothing decrypted, nothing deleted. It may be repeated: a user who has a copy
already gets what is new, and of two records of a session the better one stays.
`,
  options: {
    from: {
      value: 'WHERE',
      required: true,
      help: 'the server that has the backups: a URL, a server name or a user id',
    },
    to: { value: 'WHERE', required: true, help: 'the server they are copied to, likewise' },
    users: {
      value: 'FILE',
      required: true,
      help: '[{"user_id": ID, "from_token": TOKEN, "to_token": TOKEN}]; without to_token, from_token is used',
    },
    replace: {
      help: `a user who has another backup at the destination gets a new version there, which then is the current one. Only
        before clients use the destination: afterwards it would hide their new backup`,
    },
    json: { help: 'print the outcomes as JSON' },
  },
  exitCodes: `Exit code 0 when every user's keys are there, 1 when some user's or some keys are not, 2 when there is no way
    to the servers.`,
  example:
    'megolm-backup migrate --from https://matrix.example.org --to http://127.0.0.1:8009 --users users.json',
  async run({ from, to, users: usersFile, replace, json }, terminal) {
    const users = await readUsersFile(usersFile, terminal);
    const [source, destination] = [await reach('--from', from, terminal), await reach('--to', to, terminal)];
    if (source === destination) throw new UsageError('--from and --to are the same server');
    const outcomes: UserOutcome[] = [];
    for (const user of users) {
      const outcome = await migrate(user, { source, destination, replace }, terminal);
      outcomes.push(outcome);
      if (!json) terminal.stdout(`${printable(user.user_id)}  ${sentence(outcome)}\n`);
    }
    const ok = outcomes.filter(({ outcome }) => outcome === 'complete' || outcome === 'no-backup').length;
    const failed = outcomes.length - ok;
    if (json) terminal.stdout(`${JSON.stringify({ ok, failed, users: outcomes })}\n`);
    else terminal.stderr(`${ok} of ${outcomes.length} users; ${failed} failed\n`);
    return failed === 0 ? 0 : 1;
  },
});

/** What is printed of a user with `--json`. */
interface UserOutcome extends Partial<Omit<CopyOutcome, 'outcome' | 'failures'>> {
  readonly user_id: string;
  readonly outcome: CopyOutcome['outcome'] | 'failed';
  readonly code?: string;
  readonly reason?: string;
  readonly failures: readonly KeyFailure[];
}

type KeyFailure = Omit<FailedUpload, 'error'> & { readonly code: string; readonly reason: string };

/** The URL of a server that answers, even with an error: a server of backups alone knows no other request. */
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
  // A server may repeat what was sent to it.
  const withoutTokens = (text: string) => text.replaceAll(from_token, '***').replaceAll(to_token, '***');
  const tell = (text: string): void => {
    terminal.stderr(`${printable(`${user_id}: ${withoutTokens(text)}`)}\n`);
  };
  const onRetry = tellRetry((text) => {
    tell(text.trimEnd());
  });
  const failures: KeyFailure[] = [];
  try {
    const source = new RoomKeys({ baseUrl: way.source, accessToken: from_token, onRetry });
    const destination = new RoomKeys({ baseUrl: way.destination, accessToken: to_token, onRetry });
    await expectUser(source, user_id, 'from_token', signal);
    await expectUser(destination, user_id, 'to_token', signal);
    const outcome = await withProgress(terminal, (show) =>
      copyBackup(source, destination, {
        signal,
        replace: way.replace,
        onProgress: (reached) => {
          show(reached.done, shareOf(reached));
        },
        onFailed: ({ room_id, session_id, error: { code, message } }) => {
          failures.push({ room_id, session_id, code, reason: withoutTokens(message) });
          const [room, session] = [room_id, session_id].map((id) => excerpt(id ?? 'unknown'));
          tell(`room ${room}, session ${session}: ${code}: ${message}`);
        },
      }),
    );
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
    return { user_id, outcome: 'failed', code, reason: withoutTokens(message), failures };
  }
}

/** A mistake in the file would give one user another's keys. A server that cannot tell whose token it is passes. */
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

/** Servers that count their versions all give the same ones; random ids like ours occur once. */
function isUnguessable(version: string): boolean {
  return version.length > 10 && /\D/.test(version);
}

function sentence({ outcome, failures, ...rest }: UserOutcome): string {
  const {
    copied = 0,
    count = 'uncounted keys',
    sourceCount = 'an unknown number',
    version = '',
    created,
    sourceChanged,
  } = rest;
  const keys = `${copied} keys copied to ${created ? 'the new version' : 'version'} ${excerpt(version)}, which has ${count}`;
  switch (outcome) {
    case 'complete':
      return keys + (sourceChanged ? '; the source has changed since, so run it again' : '');
    case 'incomplete':
      return `INCOMPLETE: ${keys}; ${failures.length} failed, the source has ${sourceCount}`;
    case 'replaced':
      return `REPLACED at the source during the copy, so run it again: ${keys}`;
    case 'no-backup':
      return 'has no backup, skipped';
    case 'other-backup':
      return `NOT COPIED: the destination has another backup, version ${excerpt(version)}; see --replace`;
    case 'failed':
      return `FAILED: ${printable(`${rest.code ?? ''}: ${rest.reason ?? ''}`)}`;
  }
}

/** A user of `migrate`, with the right to both servers. */
interface MigratingUser {
  readonly user_id: string;
  readonly from_token: string;
  readonly to_token: string;
}

/** A hundred thousand users fit; a larger file was given by mistake. */
const MAX_BYTES = 64 << 20;

/** Reads a JSON array of `user_id`, `from_token` and, if it is another one, `to_token`. No message quotes the file. */
async function readUsersFile(path: string, terminal: Terminal): Promise<MigratingUser[]> {
  const look = (stats: Stats) => {
    warnIfReadable(path, stats, terminal);
  };
  const value = await readJson(path, { what: 'users', maxBytes: MAX_BYTES, look }, terminal);
  if (!Array.isArray(value) || value.length === 0) {
    throw new InputError(
      `${path}: expected an array of users, [{"user_id": ID, "from_token": TOKEN}], got ${Array.isArray(value) ? 'an empty one' : 'something else'}`,
    );
  }
  const users = new Map<string, MigratingUser>();
  for (const [i, entry] of value.entries()) {
    const user = readUser(entry, `${path}: [${i}]`);
    if (users.has(user.user_id)) throw new InputError(`${path}: [${i}]: this user is listed twice`);
    users.set(user.user_id, user);
  }
  return [...users.values()];
}

function readUser(entry: unknown, where: string): MigratingUser {
  if (!isJsonObject(entry)) throw new InputError(`${where}: expected an object`);
  const { user_id, from_token, to_token = from_token, ...others } = entry;
  if (Object.keys(others).length > 0) {
    throw new InputError(`${where}: expected user_id, from_token and perhaps to_token, got other fields`);
  }
  if (typeof user_id !== 'string' || !isUserId(user_id)) {
    throw new InputError(`${where}.user_id: expected a user id, @name:server`);
  }
  return {
    user_id,
    from_token: expectToken(from_token, `${where}.from_token`),
    to_token: expectToken(to_token, `${where}.to_token`),
  };
}

/** Other text could not go into a header, and the platform's error would quote it. */
function expectToken(value: unknown, where: string): string {
  const token = typeof value === 'string' ? pastedToken(value) : undefined;
  if (token !== undefined) return token;
  throw new InputError(`${where}: expected an access token`);
}
