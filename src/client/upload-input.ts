import { type AbortSignalLike, abortable } from '../async.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { base64Encode } from '../encoding/base64.js';
import { KeyBackupError } from '../errors.js';
import { isJsonObject } from '../encoding/json.js';
import type { ExportedSessionData } from '../formats/room-key.js';
import { utf8Encode } from '../encoding/utf8.js';

/** A place in the input: how many sessions stand before it, and a hash of them. */
export interface Checkpoint {
  readonly position: number;
  /** Unpadded base64 of a SHA-256 chain over room id, session id and session key of each. */
  readonly input_hash: string;
}

/**
 * The input of an upload, counted and hashed on its way to the encryption, so that a state can say how far the
 * server has acknowledged it, and another run can tell that it reads the same input.
 */
export class UploadInput {
  /** Sessions left out because the backup has them. */
  skipped = 0;
  readonly #start: Checkpoint | undefined;
  readonly #isStored: (session: ExportedSessionData) => boolean;
  readonly #checkpoints: { readonly position: number; readonly hash: Uint8Array }[] = [];
  #position = 0;
  #hash: Uint8Array = new Uint8Array(32);

  /** @param start - Where an earlier run stopped; what stands before it is read, compared and left out. */
  constructor(start: Checkpoint | undefined, isStored: (session: ExportedSessionData) => boolean) {
    this.#start = start;
    this.#isStored = isStored;
  }

  /**
   * The sessions to encrypt.
   *
   * @param signal - Tells the input to end when nobody waits for it any more.
   * @throws {@link KeyBackupError} `bad-parameters` when the input is not the one that the earlier run read.
   */
  async *sessions(
    input: Iterable<ExportedSessionData> | AsyncIterable<ExportedSessionData>,
    signal?: AbortSignalLike,
  ): AsyncGenerator<ExportedSessionData, void, undefined> {
    const from = this.#start?.position ?? 0;
    for await (const session of abortable(input, signal)) {
      this.#hash = sha256.create().update(this.#hash).update(identity(session)).digest();
      this.#position++;
      if (this.#position === from) this.#expectStart();
      // Asked of all: what an earlier run has sent may not have been taken.
      const isStored = this.#isStored(session);
      if (this.#position <= from) continue;
      if (isStored) {
        this.skipped++;
        continue;
      }
      this.#checkpoints.push({ position: this.#position, hash: this.#hash });
      yield session;
    }
    if (this.#position < from) this.#expectStart();
  }

  /** The place after the session whose result is the next one. */
  next(): Checkpoint {
    return toCheckpoint(this.#checkpoints.shift() ?? { position: this.#position, hash: this.#hash });
  }

  /** The place reached by reading; after the last session, the end. */
  get end(): Checkpoint {
    return toCheckpoint({ position: this.#position, hash: this.#hash });
  }

  #expectStart(): void {
    if (this.#start?.position === this.#position && this.#start.input_hash === this.end.input_hash) return;
    throw new KeyBackupError(
      'bad-parameters',
      'state.input_hash: expected the input that the state was made with, got another',
    );
  }
}

function toCheckpoint({
  position,
  hash,
}: {
  readonly position: number;
  readonly hash: Uint8Array;
}): Checkpoint {
  return { position, input_hash: base64Encode(hash) };
}

function identity(session: unknown): Uint8Array {
  const { room_id, session_id, session_key } = isJsonObject(session) ? session : {};
  return utf8Encode(JSON.stringify([room_id, session_id, session_key].map(String)));
}
