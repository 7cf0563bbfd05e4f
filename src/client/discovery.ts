import { expectOptions, expectText } from '../encoding/arguments.js';
import { expectObject, isJsonObject, ownValue } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import { isRequestError, RequestError } from './http-error.js';
import { Homeserver, type HomeserverOptions } from './http.js';
import type { CallOptions } from './api.js';

/**
 * Finds a homeserver's base URL and asks it whether it is one.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#server-discovery
 * @param homeserver - A URL, taken as it is; or a server name or user id, looked up in `.well-known/matrix/client`
 * of the server name, which itself is the homeserver when it has none.
 * @returns The base URL, without a slash at the end.
 * @throws {@link RequestError} `bad-parameters` when it is none of the three; `bad-response` when the well-known
 * file or the server's answer is not what it should be; what the requests say.
 *
 * @example
 * ```ts
 * import { RoomKeys, discoverHomeserver } from 'megolm-backup/client';
 *
 * async function connect(userId: string, accessToken: string) {
 *   return new RoomKeys({ baseUrl: await discoverHomeserver(userId), accessToken });
 * }
 * ```
 */
export async function discoverHomeserver(
  homeserver: string,
  options: Omit<HomeserverOptions, 'baseUrl' | 'accessToken'> & CallOptions = {},
): Promise<string> {
  expectText(homeserver, 'homeserver');
  expectOptions(options);
  const baseUrl = /^https?:\/\//i.test(homeserver)
    ? homeserver.replace(/\/+$/, '')
    : await lookUp(serverName(homeserver), options);
  const server = new Homeserver({ ...options, baseUrl });
  const request = { method: 'GET', path: '/_matrix/client/versions', signal: options.signal } as const;
  await server.request(request, checkVersions);
  return baseUrl;
}

/** The server name in a user id, or the name itself. */
function serverName(text: string): string {
  const name = text.startsWith('@') ? text.slice(text.indexOf(':') + 1) : text;
  if (!/^[A-Za-z0-9.-]+(:\d{1,5})?$|^\[[0-9A-Fa-f:.]+\](:\d{1,5})?$/.test(name)) {
    throw new RequestError(
      'bad-parameters',
      'homeserver: expected a URL, a server name or a user id, got something else',
    );
  }
  return name;
}

async function lookUp(
  name: string,
  options: Omit<HomeserverOptions, 'baseUrl' | 'accessToken'> & CallOptions,
): Promise<string> {
  const baseUrl = `https://${name}`;
  try {
    const server = new Homeserver({ ...options, baseUrl });
    const { signal } = options;
    const request = {
      method: 'GET',
      path: '/.well-known/matrix/client',
      followRedirects: true,
      signal,
    } as const;
    return (await server.request(request, checkWellKnown)).replace(/\/+$/, '');
  } catch (error) {
    // The file is no part of the API: here the status decides. A broken file must not send the token elsewhere.
    if (isRequestError(error) && error.status === 404) return baseUrl;
    throw error;
  }
}

function checkWellKnown(value: unknown): string {
  const server = ownValue(expectObject(value, 'the well-known file'), 'm.homeserver');
  const baseUrl = isJsonObject(server) ? ownValue(server, 'base_url') : undefined;
  if (typeof baseUrl !== 'string' || !/^https?:\/\//i.test(baseUrl)) {
    throw new KeyBackupError('bad-json', 'm.homeserver.base_url: expected a URL, got something else');
  }
  return baseUrl;
}

function checkVersions(value: unknown): void {
  const versions = ownValue(expectObject(value, 'the versions'), 'versions');
  if (!Array.isArray(versions)) {
    throw new KeyBackupError('bad-json', 'versions: expected an array: this is no homeserver');
  }
}
