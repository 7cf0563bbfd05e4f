import { isFromCallback, type AbortSignalLike } from '../async.js';
import { expectFunction, expectOptions } from '../encoding/arguments.js';
import { BackupReader, type BackupItem } from '../wire/backup-reader.js';
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
import { expectObject } from '../encoding/json.js';
import { isRequestError, RequestError } from './http-error.js';
import { Homeserver, path, type HomeserverOptions, type HttpRequest } from './http.js';

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
    const request = {
      method: 'POST',
      path: VERSION,
      body: { algorithm, auth_data },
      signal: signalOf(options),
    } as const;
    return (await this.homeserver.request(request, checkVersionCreated)).version;
  }

  /** `GET /room_keys/version`: the current backup; `undefined` if it does not exist. */
  async currentVersion(options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return this.#find({ method: 'GET', path: VERSION, signal: signalOf(options) }, checkVersionInfo);
  }

  /** `GET /room_keys/version/{version}`; `undefined` if it does not exist. */
  async version(version: string, options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return this.#find(
      { method: 'GET', path: VERSION + path`/${version}`, signal: signalOf(options) },
      checkVersionInfo,
    );
  }

  /** `PUT /room_keys/version/{version}`: changes the `auth_data`. The algorithm must stay the same. */
  async updateVersion(version: string, update: NewVersion, options: CallOptions = {}): Promise<void> {
    expectOptions(update, 'update');
    const body = { algorithm: update.algorithm, auth_data: update.auth_data, version };
    const request = {
      method: 'PUT',
      path: VERSION + path`/${version}`,
      body,
      signal: signalOf(options),
    } as const;
    await this.homeserver.request(request, checkObject);
  }

  /** `DELETE /room_keys/version/{version}`: deletes the version and its keys. Returns false if it never existed. */
  async deleteVersion(version: string, options: CallOptions = {}): Promise<boolean> {
    const request = {
      method: 'DELETE',
      path: VERSION + path`/${version}`,
      signal: signalOf(options),
    } as const;
    return (await this.#find(request, checkObject)) !== undefined;
  }

  /** `PUT /room_keys/keys`: keys of many rooms, all or none. A string is taken as their JSON. */
  async putKeys(version: string, body: KeyBackups | string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#put(version, '', body, options);
  }

  /** `PUT /room_keys/keys/{roomId}`: keys of one room, all or none. */
  async putRoomKeys(
    version: string,
    roomId: string,
    body: RoomKeyBackup,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#put(version, path`/${roomId}`, body, options);
  }

  /** `PUT /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async putKey(
    version: string,
    roomId: string,
    sessionId: string,
    body: KeyBackupData,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#put(version, path`/${roomId}/${sessionId}`, body, options);
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
    const query = { version, [LIMIT]: limit?.toString(), [FROM]: from };
    const at = KEYS + (roomId === undefined ? '' : path`/${roomId}`);
    const reader = new BackupReader({ form: roomId === undefined ? 'rooms' : 'sessions', roomId });
    try {
      for await (const chunk of this.homeserver.download({
        method: 'GET',
        path: at,
        query,
        signal: signalOf(options),
      })) {
        yield* reader.read(chunk);
      }
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
    return this.#find(
      { method: 'GET', path: at, query: { version }, signal: signalOf(options) },
      checkKeyBackupData,
    );
  }

  /** `DELETE /room_keys/keys`: all keys of a version. */
  async deleteKeys(version: string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#delete(version, '', options);
  }

  /** `DELETE /room_keys/keys/{roomId}`: the keys of one room. */
  async deleteRoomKeys(version: string, roomId: string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#delete(version, path`/${roomId}`, options);
  }

  /** `DELETE /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async deleteKey(
    version: string,
    roomId: string,
    sessionId: string,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#delete(version, path`/${roomId}/${sessionId}`, options);
  }

  #put(version: string, at: string, body: unknown, options: CallOptions): Promise<KeysChanged> {
    const request = {
      method: 'PUT',
      path: KEYS + at,
      query: { version },
      body,
      signal: signalOf(options),
    } as const;
    return this.homeserver.request(request, checkKeysChanged);
  }

  #delete(version: string, at: string, options: CallOptions): Promise<KeysChanged> {
    const request = {
      method: 'DELETE',
      path: KEYS + at,
      query: { version },
      signal: signalOf(options),
    } as const;
    return this.homeserver.request(request, checkKeysChanged);
  }

  async #find<Answer>(request: HttpRequest, check: (value: unknown) => Answer): Promise<Answer | undefined> {
    try {
      return await this.homeserver.request(request, check);
    } catch (error) {
      if (isRequestError(error) && error.code === 'not-found') return undefined;
      throw error;
    }
  }
}

function checkObject(value: unknown): object {
  return expectObject(value, 'the body');
}
