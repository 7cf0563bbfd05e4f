import { discoverHomeserver } from '../client/discovery.js';
import { RequestError } from '../client/errors.js';
import type { RetryNotice } from '../client/retry.js';
import { RoomKeys } from '../client/room-keys.js';
import type { VersionInfo } from '../api/types.js';
import { InputError, UsageError } from './command.js';
import { readSecretLine } from './key-file.js';
import type { Terminal } from './terminal.js';

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
    throw new UsageError('missing option: --homeserver URL, server name or user id');
  const { signal } = terminal;
  const onRetry = tellRetry((text) => {
    terminal.stderr(text);
  });
  const variable = terminal.env.MATRIX_ACCESS_TOKEN;
  const accessToken =
    tokenFile === undefined && variable
      ? variable
      : await readSecretLine(tokenFile, 'access token', terminal);
  const baseUrl = await withServer(() => discoverHomeserver(homeserver, { signal, onRetry }));
  return new RoomKeys({ baseUrl, accessToken: accessToken.trim(), onRetry });
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
  if (!info) throw new InputError('there is no backup');
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
