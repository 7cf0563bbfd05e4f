import { pastedToken } from '../client/access-token.js';
import { pastedText } from '../encoding/pasted-text.js';
import { ownUserId } from '../client/account.js';
import { RoomKeys } from '../client/api.js';
import { discoverHomeserver } from '../client/discovery.js';
import { RequestError } from '../client/http-error.js';
import type { RetryNotice } from '../client/retry.js';
import { quote } from '../encoding/quote.js';
import type { SigningKey } from '../scheme/auth-data.js';
import type { BackupDecryptionKey } from '../scheme/keys.js';
import type { VersionInfo } from '../wire/types.js';
import type { Values } from './command.js';
import { InputError, UsageError } from './errors.js';
import type { ACCOUNT } from './options.js';
import { parseSigningKey, readKeyFile, readSecret } from './secrets.js';
import type { Terminal } from './terminal.js';

/** Waits longer than this are announced, in milliseconds. */
const WORTH_TELLING = 1000;

/** The options that name a server and the access token. */
export interface ServerOptions {
  readonly homeserver: string | undefined;
  readonly tokenFile: string | undefined;
}

/** Finds the server and reads the access token. */
export async function connect(
  { homeserver, tokenFile }: ServerOptions,
  terminal: Terminal,
): Promise<RoomKeys> {
  if (homeserver === undefined)
    throw new UsageError('missing option: --homeserver, a URL, a server name or a user id');
  const where = pastedText(homeserver);
  expectUrl('--homeserver', where);
  const onRetry = tellRetry(terminal.stderr);
  const accessToken = await readToken(tokenFile, 'access token', terminal);
  const baseUrl = await findHomeserver('--homeserver', where, terminal);
  return new RoomKeys({ baseUrl, accessToken, onRetry });
}

/** Who an account belongs to, and what makes its backup trusted. */
export interface AccountTrust {
  readonly userId: string;
  readonly trustedKeys: readonly SigningKey[];
  readonly decryptionKey: BackupDecryptionKey | undefined;
}

/** Works on the account that the options name, with the keys that they name. */
export async function withAccount<T>(
  options: Values<typeof ACCOUNT>,
  terminal: Terminal,
  work: (roomKeys: RoomKeys, trust: AccountTrust) => Promise<T>,
): Promise<T> {
  const { keyFile, key } = options;
  const { signal } = terminal;
  const trustedKeys = key.map(parseSigningKey);
  const decryptionKey = keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
  try {
    const roomKeys = await connect(options, terminal);
    return await withServer(async () =>
      work(roomKeys, { userId: await ownUserId(roomKeys, { signal }), trustedKeys, decryptionKey }),
    );
  } finally {
    decryptionKey?.dispose();
  }
}

/** Reads an access token from a file, the environment or the terminal. */
export async function readToken(path: string | undefined, what: string, terminal: Terminal): Promise<string> {
  const variable = terminal.env.MATRIX_ACCESS_TOKEN;
  const text = path === undefined && variable ? variable : await readSecret(path, what, terminal);
  const token = pastedToken(text);
  if (token === undefined) {
    const got = text.trim() === '' ? 'nothing' : 'others';
    throw new InputError(`${what}: expected printable characters, got ${got}`);
  }
  if (!text.includes(token)) terminal.stderr(`the ${what} was read without the white space in it\n`);
  return token;
}

/** The base URL of a homeserver that answers as one. */
export async function findHomeserver(option: string, where: string, terminal: Terminal): Promise<string> {
  const { signal, stderr } = terminal;
  try {
    return await discoverHomeserver(where, { signal, onRetry: tellRetry(stderr) });
  } catch (cause) {
    if (!(cause instanceof RequestError) || cause.code === 'aborted') throw cause;
    const why = `${cause.code}: ${cause.message}`;
    throw new InputError(
      cause.status === undefined
        ? `${option}: ${why}; check how the name is spelled, and your connection`
        : `${option}: ${where} is not a Matrix homeserver: ${why}`,
      { cause },
    );
  }
}

/** @throws {@link UsageError} for a malformed URL; server names and user ids are looked up later. */
export function expectUrl(option: string, where: string): void {
  if (/^https?:/i.test(where) && !URL.canParse(where)) {
    throw new UsageError(`${option}: expected a URL, a server name or a user id`);
  }
}

/** What to say of an account without a backup. */
export const NO_BACKUP =
  'there is no backup on this account; is it the right account, and the right homeserver?';

/** The backup that a command works on: the current version, or the one named. */
export async function existingBackup(
  roomKeys: RoomKeys,
  signal: AbortSignal,
  version?: string,
): Promise<VersionInfo> {
  const info = await withServer(() =>
    version === undefined ? roomKeys.currentVersion({ signal }) : roomKeys.version(version, { signal }),
  );
  if (!info) {
    throw new InputError(
      version === undefined
        ? NO_BACKUP
        : `there is no backup version ${quote(version)} on this account; "versions" shows the current one`,
    );
  }
  return info;
}

/** Announces waits that are long enough to be noticed. */
export function tellRetry(tell: (text: string) => void): (notice: RetryNotice) => void {
  return ({ delay, asked, error }) => {
    const more =
      asked !== undefined && asked > delay ? `, not the ${Math.round(asked / 1000)} s asked for` : '';
    if (delay >= WORTH_TELLING || more !== '') {
      tell(`${error.message}; trying again in ${Math.round(delay / 1000)} s${more}\n`);
    }
  };
}

/** Turns failures of the server and of the network into input errors. */
export async function withServer<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof RequestError) || cause.code === 'aborted') throw cause;
    throw new InputError(`${cause.code}: ${cause.message}${nextStep(cause)}`, { cause });
  }
}

function nextStep({ code }: RequestError): string {
  if (code !== 'unauthorized') return '';
  return '; copy the access token again, as a whole: it ends when you sign out of the client that it comes from';
}
