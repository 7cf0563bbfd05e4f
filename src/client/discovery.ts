import { expectOptions, expectText } from '../encoding/arguments.js';
import { expectObject, isJsonObject, ownValue } from '../encoding/json.js';
import { KeyBackupError } from '../errors.js';
import { isRequestError, RequestError } from './http-error.js';
import { Homeserver, type HomeserverOptions } from './http.js';
import type { CallOptions } from './api.js';

/** How to make the requests. */
export type DiscoveryOptions = Omit<HomeserverOptions, 'baseUrl' | 'accessToken'> & CallOptions;

/**
 * Finds a homeserver's base URL and checks that a homeserver answers there.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#server-discovery
 * @param homeserver - A URL; or a server name or user id, looked up in `.well-known/matrix/client` of the server name,
 * which itself is the homeserver if that file does not exist.
 * @returns The base URL, without a slash at the end.
 * @throws {@link RequestError} `bad-parameters` for anything else; `bad-response` for an invalid well-known file or
 * answer; any code of a failed request.
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
  options: DiscoveryOptions = {},
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

async function lookUp(name: string, options: DiscoveryOptions): Promise<string> {
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
    // The file is not part of the API, so only the status counts. A broken file must not send the token elsewhere.
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
