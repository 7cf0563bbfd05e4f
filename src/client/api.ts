import type { AbortSignalLike } from '../async.js';
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
import { KeyBackupError } from '../errors.js';
import { expectObject } from '../encoding/json.js';
import { isRequestError, RequestError } from './http-error.js';
import { Homeserver, path, type HomeserverOptions, type HttpRequest } from './http.js';

/** What every call accepts. */
export interface CallOptions {
  readonly signal?: AbortSignalLike | undefined;
}

/** A part of a backup that one download gives. */
export interface Page {
  /** What was asked for begins here; absent at the beginning. */
  readonly from?: string | undefined;
  /** Most keys of one answer, where the server can page at all. */
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
/** More of a body at once would be as many records in memory at once. */
const SLICE_BYTES = 1 << 16;

/**
 * The key backup API, one method per endpoint: what goes out is what the specification says, what comes back is
 * checked.
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
  /** The server behind it. */
  readonly homeserver: Homeserver;

  constructor(homeserver: Homeserver | HomeserverOptions) {
    this.homeserver = homeserver instanceof Homeserver ? homeserver : new Homeserver(homeserver);
  }

  /** `POST /room_keys/version`. Not repeated when it is unclear whether it was done. */
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

  /** `GET /room_keys/version`: the current backup; `undefined` when there is none. */
  async currentVersion(options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return this.#find({ method: 'GET', path: VERSION, signal: signalOf(options) }, checkVersionInfo);
  }

  /** `GET /room_keys/version/{version}`; `undefined` when there is none. */
  async version(version: string, options: CallOptions = {}): Promise<VersionInfo | undefined> {
    return this.#find(
      { method: 'GET', path: VERSION + path`/${version}`, signal: signalOf(options) },
      checkVersionInfo,
    );
  }

  /** `PUT /room_keys/version/{version}`: another `auth_data`. The algorithm has to be what it was. */
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

  /** `DELETE /room_keys/version/{version}`: the version and its keys. Returns false when it never existed. */
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
    return this.#change({ method: 'PUT', path: KEYS, query: { version }, body, signal: signalOf(options) });
  }

  /** `PUT /room_keys/keys/{roomId}`: keys of one room, all or none. */
  async putRoomKeys(
    version: string,
    roomId: string,
    body: RoomKeyBackup,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    return this.#change({
      method: 'PUT',
      path: KEYS + path`/${roomId}`,
      query: { version },
      body,
      signal: signalOf(options),
    });
  }

  /** `PUT /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async putKey(
    version: string,
    roomId: string,
    sessionId: string,
    body: KeyBackupData,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    const at = KEYS + path`/${roomId}/${sessionId}`;
    return this.#change({ method: 'PUT', path: at, query: { version }, body, signal: signalOf(options) });
  }

  /**
   * `GET /room_keys/keys` or `GET /room_keys/keys/{roomId}`, once and while it arrives.
   *
   * A download that fails in the middle is not repeated here: only the caller knows what it has taken already.
   * {@link restoreKeys} is the one that goes on.
   *
   * @returns The records, nothing in them checked yet; at the end where the next page begins, `undefined` after
   * the last one.
   * @throws {@link RequestError} with any of its codes; `bad-response` when the body is no backup or ends early.
   */
  async *keys(
    version: string,
    page: Page = {},
    options: CallOptions = {},
  ): AsyncGenerator<BackupItem, string | undefined, undefined> {
    const batches = this.keyBatches(version, page, options);
    try {
      let next = await batches.next();
      for (; next.done !== true; next = await batches.next()) yield* next.value;
      return next.value;
    } finally {
      await batches.return(undefined);
    }
  }

  /** {@link RoomKeys.keys}, some dozens at a time: for many keys a step per key costs more than the key. */
  async *keyBatches(
    version: string,
    page: Page = {},
    options: CallOptions = {},
  ): AsyncGenerator<BackupItem[], string | undefined, undefined> {
    expectOptions(page, 'page');
    const { roomId, from, limit } = page;
    const query = { version, [LIMIT]: limit?.toString(), [FROM]: from };
    const at = KEYS + (roomId === undefined ? '' : path`/${roomId}`);
    const request = { method: 'GET', path: at, query, signal: signalOf(options) } as const;
    const reader = new BackupReader({ form: roomId === undefined ? 'rooms' : 'sessions', roomId });
    for await (const chunk of this.homeserver.download(request)) {
      for (let start = 0; start < chunk.length; start += SLICE_BYTES) {
        const items = fromServer(() => reader.push(chunk.subarray(start, start + SLICE_BYTES)));
        if (items.length > 0) yield items;
      }
    }
    fromServer(() => {
      reader.end();
    });
    const next = reader.fields.get(NEXT_BATCH);
    return typeof next === 'string' ? next : undefined;
  }

  /** `GET /room_keys/keys/{roomId}/{sessionId}`; `undefined` when the backup does not have it. */
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
    return this.#change({ method: 'DELETE', path: KEYS, query: { version }, signal: signalOf(options) });
  }

  /** `DELETE /room_keys/keys/{roomId}`: the keys of one room. */
  async deleteRoomKeys(version: string, roomId: string, options: CallOptions = {}): Promise<KeysChanged> {
    return this.#change({
      method: 'DELETE',
      path: KEYS + path`/${roomId}`,
      query: { version },
      signal: signalOf(options),
    });
  }

  /** `DELETE /room_keys/keys/{roomId}/{sessionId}`: one key. */
  async deleteKey(
    version: string,
    roomId: string,
    sessionId: string,
    options: CallOptions = {},
  ): Promise<KeysChanged> {
    const at = KEYS + path`/${roomId}/${sessionId}`;
    return this.#change({ method: 'DELETE', path: at, query: { version }, signal: signalOf(options) });
  }

  #change(request: HttpRequest): Promise<KeysChanged> {
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

/** What the reader refuses is the server's fault, and may be right the next time. */
function fromServer<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof KeyBackupError)) throw cause;
    throw new RequestError('bad-response', `the keys: ${cause.message}`, { cause });
  }
}
