import { isFromCallback, type AbortSignalLike } from '../async.js';
import { expectFunction, expectOptions } from '../encoding/arguments.js';
import type { BackupItem } from '../wire/backup-item.js';
import { BackupReader } from '../wire/backup-reader.js';
import {
  checkKeyBackupData,
  checkKeysChanged,
  checkVersionCreated,
  checkVersionInfo,
} from '../wire/validate.js';
import type {
  KeyBackupData,
  KeyBackups,
  KeysChanged,
  NewVersion,
  RoomKeyBackup,
  VersionInfo,
} from '../wire/types.js';
import type { KeyBackupError } from '../errors.js';
import { RequestError, unlessMissing } from './http-error.js';
import { Homeserver, expectBody, path, type HomeserverOptions, type HttpRequest } from './http.js';

/** What every call accepts. */
export interface CallOptions {
  readonly signal?: AbortSignalLike | undefined;
}

/** The part of a backup that one download gives. */
export interface Page {
  /** Where it begins; absent at the beginning. */
  readonly from?: string | undefined;
  /** Most keys of one answer, if the server can page at all. */
  readonly limit?: number | undefined;
  /** Only this room. */
  readonly roomId?: string | undefined;
}

/** @throws {@link KeyBackupError} `bad-parameters` unless these are options, and their signal is one. */
export function signalOf(options: CallOptions): AbortSignalLike | undefined {
  expectOptions(options);
  const { signal } = options;
  if (signal !== undefined)
    expectFunction((signal as Partial<AbortSignalLike> | null)?.addEventListener, 'signal');
  return signal;
}

/** The fields of the paging extension; servers that do not know it give everything at once. */
const LIMIT = 'org.megolm-backup.limit';
const FROM = 'org.megolm-backup.from';
const NEXT_BATCH = 'org.megolm-backup.next_batch';

const VERSION = '/_matrix/client/v3/room_keys/version';
const KEYS = '/_matrix/client/v3/room_keys/keys';

/**
 * The key backup API, one method per endpoint. Answers are validated.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
 *
 * @example
 * ```ts
 * import { RoomKeys } from 'megolm-backup/client';
 *
 * async function count(baseUrl: string, accessToken: string) {
 *   const roomKeys = new RoomKeys({ baseUrl, accessToken });
 *   return (await roomKeys.currentVersion())?.count;
 * }
 * ```
 */
export class RoomKeys {
  /** The server. */
  readonly homeserver: Homeserver;

  constructor(homeserver: Homeserver | HomeserverOptions) {
    this.homeserver = homeserver instanceof Homeserver ? homeserver : new Homeserver(homeserver);
  }

  /** `POST /room_keys/version`. Not repeated if it is unclear whether it was done. */
  async createVersion(newVersion: NewVersion, options: CallOptions = {}): Promise<string> {
    expectOptions(newVersion, 'newVersion');
    const { algorithm, auth_data } = newVersion;
    const created = this.#call('POST', VERSION, checkVersionCreated, options, {
      body: { algorithm, auth_data },
    });
    return (await created).version;
  }

  /** `GET /room_keys/version`: the current backup; `undefined` if it does not exist. */
  async currentVersion(options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return unlessMissing(this.#call('GET', VERSION, checkVersionInfo, options));
  }

  /** `GET /room_keys/version/{version}`; `undefined` if it does not exist. */
  async version(version: string, options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return unlessMissing(this.#call('GET', VERSION + path`/${version}`, checkVersionInfo, options));
  }

  /** `PUT /room_keys/version/{version}`: changes the `auth_data`. The algorithm must stay the same. */
  async updateVersion(version: string, update: NewVersion, options: CallOptions = {}): Promise<void> {
    expectOptions(update, 'update');
    const body = { algorithm: update.algorithm, auth_data: update.auth_data, version };
    await this.#call('PUT', VERSION + path`/${version}`, expectBody, options, { body });
  }

  /** `DELETE /room_keys/version/{version}`: deletes the version and its keys. Returns false if it never existed. */
  async deleteVersion(version: string, options: CallOptions = {}): Promise<boolean> {
    const deleted = this.#call('DELETE', VERSION + path`/${version}`, expectBody, options);
    return (await unlessMissing(deleted)) !== undefined;
  }

  /** `PUT /room_keys/keys`: keys of many rooms, all or none. A string is taken as their JSON. */
  async putKeys(version: string, body: KeyBackups | string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#change('PUT', version, '', options, body);
  }

  /** `PUT /room_keys/keys/{roomId}`: keys of one room, all or none. */
  async putRoomKeys(
    version: string,
    roomId: string,
    body: RoomKeyBackup,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#change('PUT', version, path`/${roomId}`, options, body);
  }

  /** `PUT /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async putKey(
    version: string,
    roomId: string,
    sessionId: string,
    body: KeyBackupData,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#change('PUT', version, path`/${roomId}/${sessionId}`, options, body);
  }

  /**
   * `GET /room_keys/keys` or `GET /room_keys/keys/{roomId}`, once and while it arrives.
   *
   * A download that fails halfway is not repeated, since only the caller knows what it has used; {@link Restore}
   * resumes.
   *
   * @returns The records, some dozens at a time and not validated; at the end the token of the next page, `undefined`
   * after the last one.
   * @throws {@link RequestError} with any of its codes; `bad-response` if the body is not a backup or ends early.
   */
  async *keys(
    version: string,
    page: Page = {},
    options: CallOptions = {},
  ): AsyncGenerator<BackupItem[], string | undefined, undefined> {
    expectOptions(page, 'page');
    const { roomId, from, limit } = page;
    const request = {
      method: 'GET',
      path: KEYS + (roomId === undefined ? '' : path`/${roomId}`),
      query: { version, [LIMIT]: limit?.toString(), [FROM]: from },
      signal: signalOf(options),
    } as const;
    const reader = new BackupReader({ form: roomId === undefined ? 'rooms' : 'sessions', roomId });
    try {
      for await (const chunk of this.homeserver.download(request)) yield* reader.read(chunk);
      reader.end();
    } catch (cause) {
      if (isFromCallback(cause) || cause instanceof RequestError) throw cause;
      throw new RequestError('bad-response', `the keys: ${(cause as KeyBackupError).message}`, { cause });
    }
    const next = reader.fields.get(NEXT_BATCH);
    return typeof next === 'string' ? next : undefined;
  }

  /** `GET /room_keys/keys/{roomId}/{sessionId}`; `undefined` if the backup does not have it. */
  async key(
    version: string,
    roomId: string,
    sessionId: string,
    options: CallOptions = {},
  ): Promise<KeyBackupData | undefined> {
    const at = KEYS + path`/${roomId}/${sessionId}`;
    return unlessMissing(this.#call('GET', at, checkKeyBackupData, options, { query: { version } }));
  }

  /** `DELETE /room_keys/keys`: all keys of a version. */
  async deleteKeys(version: string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#change('DELETE', version, '', options);
  }

  /** `DELETE /room_keys/keys/{roomId}`: the keys of one room. */
  async deleteRoomKeys(version: string, roomId: string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#change('DELETE', version, path`/${roomId}`, options);
  }

  /** `DELETE /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async deleteKey(
    version: string,
    roomId: string,
    sessionId: string,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#change('DELETE', version, path`/${roomId}/${sessionId}`, options);
  }

  async #change(
    method: 'PUT' | 'DELETE',
    version: string,
    at: string,
    options: CallOptions,
    body?: unknown,
  ): Promise<KeysChanged> {
    return this.#call(method, KEYS + at, checkKeysChanged, options, { query: { version }, body });
  }

  async #call<Answer>(
    method: HttpRequest['method'],
    at: string,
    check: (value: unknown) => Answer,
    options: CallOptions,
    more: Pick<HttpRequest, 'query' | 'body'> = {},
  ): Promise<Answer> {
    return this.homeserver.request({ method, path: at, ...more, signal: signalOf(options) }, check);
  }
}
