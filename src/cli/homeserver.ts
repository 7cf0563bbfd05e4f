import { InputError, UsageError } from './errors.js';
import { discoverHomeserver } from '../client/discovery.js';
import { RequestError } from '../client/http-error.js';
import type { RetryNotice } from '../client/retry.js';
import { RoomKeys } from '../client/api.js';
import type { VersionInfo } from '../wire/types.js';
import { readSecretLine } from './key-file.js';
import type { Terminal } from './terminal.js';
import { quote } from '../encoding/quote.js';

/** The arguments of every command that talks to a server. */
export const HOMESERVER_ARGUMENTS = {
  homeserver: { type: 'string' },
  'token-file': { type: 'string' },
} as const;

/** Their part of the help. */
export const HOMESERVER_USAGE = `  --homeserver WHERE a URL, a server name or a user id
  --token-file FILE  the access token, in one line; - is standard input. Without it, the environment variable
                     MATRIX_ACCESS_TOKEN, or a question on the terminal.
`;

/** A server that takes longer than this to go on is waited for, and the person is told. */
const WORTH_TELLING = 1000;

/**
 * Finds the server and reads the access token.
 *
 * @throws {@link UsageError} without `--homeserver`; {@link InputError} when there is no way to the server.
 */
export async function connect(
  values: { readonly homeserver?: string | undefined; readonly 'token-file'?: string | undefined },
  terminal: Terminal,
): Promise<RoomKeys> {
  const { homeserver, 'token-file': tokenFile } = values;
  if (homeserver === undefined)
    throw new UsageError('missing option: --homeserver, a URL, a server name or a user id');
  expectUrl('--homeserver', homeserver);
  const onRetry = tellRetry((text) => {
    terminal.stderr(text);
  });
  const accessToken = await readToken(tokenFile, 'access token', terminal);
  const baseUrl = await findHomeserver('--homeserver', homeserver, terminal);
  return new RoomKeys({ baseUrl, accessToken, onRetry });
}

/**
 * Reads an access token: out of a file, the environment, or on the terminal.
 *
 * @throws {@link InputError} also for what could not go into a header: the platform would quote it.
 */
export async function readToken(path: string | undefined, what: string, terminal: Terminal): Promise<string> {
  const variable = terminal.env.MATRIX_ACCESS_TOKEN;
  const text = path === undefined && variable ? variable : await readSecretLine(path, what, terminal);
  const token = text.trim();
  if (isToken(token)) return token;
  throw new InputError(`${what}: expected printable characters without spaces, got others`);
}

/** Whether a text can be an access token. */
export function isToken(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

/**
 * The base URL of a homeserver that answers as one.
 *
 * @throws {@link InputError} when there is no way to it, or it answers otherwise.
 */
export async function findHomeserver(option: string, where: string, terminal: Terminal): Promise<string> {
  const { signal } = terminal;
  const onRetry = tellRetry((text) => {
    terminal.stderr(text);
  });
  try {
    return await discoverHomeserver(where, { signal, onRetry });
  } catch (cause) {
    if (!(cause instanceof RequestError) || cause.code === 'aborted') throw cause;
    const why = `${cause.code}: ${cause.message}`;
    throw new InputError(
      cause.status === undefined
        ? `${option}: ${why}`
        : `${option}: ${where} is no Matrix homeserver: ${why}`,
      { cause },
    );
  }
}

/** @throws {@link UsageError} for what begins as a URL and is none; names are looked up. */
export function expectUrl(option: string, where: string): void {
  if (/^https?:/i.test(where) && !URL.canParse(where)) {
    throw new UsageError(`${option}: expected a URL, a server name or a user id`);
  }
}

/**
 * The backup that a command is about.
 *
 * @param version - One version by its name; the current one where none is given.
 * @throws {@link InputError} when there is none, or no way to the server.
 */
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
        ? 'there is no backup on this account; "upload --create" makes one'
        : `there is no backup version ${quote(version)} on this account; "versions" shows the current one`,
    );
  }
  return info;
}

/** Tells of waits that a person would wonder about. */
export function tellRetry(tell: (text: string) => void): (notice: RetryNotice) => void {
  return ({ delay, asked, error }) => {
    const more =
      asked !== undefined && asked > delay ? `, not the ${Math.round(asked / 1000)} s asked for` : '';
    if (delay >= WORTH_TELLING || more !== '') {
      tell(`${error.message}; trying again in ${Math.round(delay / 1000)} s${more}\n`);
    }
  };
}

/**
 * Does something with the server.
 *
 * @throws {@link InputError} when there is no way to it, or it does not do its part.
 */
export async function withServer<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (!(cause instanceof RequestError) || cause.code === 'aborted') throw cause;
    throw new InputError(`${cause.code}: ${cause.message}`, { cause });
  }
}
