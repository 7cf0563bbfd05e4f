import { type AbortSignalLike, ChunkSizer, throwIfAborted, abortable } from '../async.js';
import { expectIterable, expectOptions } from '../encoding/arguments.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { randomBytes } from '@noble/hashes/utils.js';
import { AesCtr } from './aes-ctr.js';
import { ArmorReader, ArmorWriter } from './armor.js';
import { concat, concatAll, equal, isBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError, describe, numberOr } from '../errors.js';
import { MAX_ITERATIONS, pbkdf2, type DeriveOptions } from '../scheme/passphrase.js';
import { utf8Encode } from '../encoding/utf8.js';

/**
 * The encrypted file around a key export ("element-keys.txt"), whatever is in it.
 *
 * PBKDF2-HMAC-SHA-512 of the passphrase gives an AES key and an HMAC key. The file is base64 of: 0x01, salt (16
 * bytes), IV (16), rounds (u32 big-endian), AES-256-CTR of the plaintext, and HMAC-SHA-256 (32) of everything before
 * it.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 */

/** The rounds that this package writes unless told otherwise, as Element does. */
export const EXPORT_ITERATIONS = 500_000;

/** A file with fewer rounds is read, but never written. */
export const MIN_EXPORT_ITERATIONS = 100_000;

/** Above this a file is refused, unless the caller says otherwise: 512 MiB hold 500,000 keys. */
export const MAX_EXPORT_BYTES = 512 * 1024 * 1024;

/** Worked on at a time, between two looks at the clock. */
export const PIECE = 1 << 16;

const VERSION = 1;
const SALT = 16;
const IV = 16;
const HEADER = 1 + SALT + IV + 4;
const MAC = 32;

/** What {@link decryptKeyExport} and {@link readKeyExport} accept. */
export interface ReadExportOptions extends DeriveOptions {
  /** Most bytes of the decoded file; default {@link MAX_EXPORT_BYTES}. */
  readonly maxBytes?: number | undefined;
}

/** A file in memory, or as it is read. */
export type ExportFile = string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Decrypts a key export file to its JSON. Nothing is given out before the MAC over the whole file was found right.
 *
 * The MAC is the only check there is: a wrong passphrase and a changed byte look the same. What can be told apart
 * is a file that is cut off, no base64, too short, or of another version.
 *
 * @see https://spec.matrix.org/v1.19/client-server-api/#key-exports
 * @param file - Its text; pieces of bytes are decoded while they come.
 * @param passphrase - As the user typed it; it is not normalised.
 * @returns UTF-8 JSON, by contract an array of `ExportedSessionData`; the caller owns and wipes it.
 * @throws {@link KeyBackupError} `bad-export-file`; `wrong-passphrase`, also when the file is damaged between its
 * lines; `too-large`; `bad-parameters` for a passphrase that is no string; `aborted`; `backend-failed`; whatever the
 * input itself throws.
 */
export async function decryptKeyExport(
  file: ExportFile,
  passphrase: string,
  options: ReadExportOptions = {},
): Promise<Uint8Array> {
  expectOptions(options);
  if (typeof file !== 'string') expectIterable(file, 'key export');
  const { signal } = options;
  const password = passwordBytes(passphrase);
  let keys: Uint8Array | undefined;
  try {
    const body = await readBody(file, options);
    const { salt, iv, iterations } = readHeader(body);
    keys = await pbkdf2(password, salt, iterations, 64, options);
    const covered = body.subarray(0, body.length - MAC);
    const mac = await authenticate(keys.subarray(32), covered, signal);
    if (!equal(mac, body.subarray(body.length - MAC))) {
      throw new KeyBackupError(
        'wrong-passphrase',
        'key export: expected the passphrase of this file, got another; or the file was damaged: nothing tells which',
      );
    }
    return await decipher(keys.subarray(0, 32), iv, covered.subarray(HEADER), signal);
  } finally {
    wipe(password);
    if (keys) wipe(keys);
  }
}

function passwordBytes(passphrase: string): Uint8Array {
  if (typeof passphrase !== 'string') {
    throw new KeyBackupError('bad-parameters', `passphrase: expected a string, got ${describe(passphrase)}`);
  }
  return utf8Encode(passphrase);
}

async function readBody(file: ExportFile, options: ReadExportOptions): Promise<Uint8Array> {
  const { maxBytes = MAX_EXPORT_BYTES, signal } = options;
  const reader = new ArmorReader();
  const sizer = new ChunkSizer(signal);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunksOf(file, signal)) {
    if (!isBytes(chunk)) {
      throw new KeyBackupError('bad-parameters', `key export: expected bytes, got ${describe(chunk)}`);
    }
    for (let start = 0; start < chunk.length; start += PIECE) {
      const piece = reader.push(chunk.subarray(start, start + PIECE));
      length += piece.length;
      if (length > maxBytes) {
        throw new KeyBackupError('too-large', `key export: expected at most ${maxBytes} bytes, got more`);
      }
      pieces.push(piece);
      if (sizer.shouldYield) await sizer.yieldNow();
    }
  }
  reader.end();
  return concatAll(pieces);
}

async function* chunksOf(
  file: ExportFile,
  signal: AbortSignalLike | undefined,
): AsyncGenerator<Uint8Array, void, void> {
  throwIfAborted(signal);
  if (typeof file === 'string') {
    for (let start = 0; start < file.length; start += PIECE)
      yield utf8Encode(file.slice(start, start + PIECE));
  } else if (isBytes(file)) {
    yield file;
  } else {
    yield* abortable(file, signal);
  }
}

interface ExportHeader {
  readonly salt: Uint8Array;
  readonly iv: Uint8Array;
  readonly iterations: number;
}

function readHeader(body: Uint8Array): ExportHeader {
  const refused = (message: string) => new KeyBackupError('bad-export-file', `key export: ${message}`);
  if (body.length > 0 && body[0] !== VERSION) throw refused(`expected version 1, got ${body[0]}`);
  if (body.length < HEADER + MAC) {
    throw refused(`expected at least ${HEADER + MAC} bytes, got ${body.length}: it is cut off`);
  }
  const iterations = new DataView(body.buffer, body.byteOffset).getUint32(1 + SALT + IV);
  if (iterations < 1 || iterations > MAX_ITERATIONS) {
    throw refused(`expected 1 to 10,000,000 rounds, got ${iterations}`);
  }
  return { salt: body.slice(1, 1 + SALT), iv: body.slice(1 + SALT, 1 + SALT + IV), iterations };
}

async function authenticate(
  key: Uint8Array,
  covered: Uint8Array,
  signal: AbortSignalLike | undefined,
): Promise<Uint8Array> {
  const sizer = new ChunkSizer(signal);
  const mac = hmac.create(sha256, key);
  for (let start = 0; start < covered.length; start += PIECE) {
    mac.update(covered.subarray(start, start + PIECE));
    if (sizer.shouldYield) await sizer.yieldNow();
  }
  return mac.digest();
}

/** In place: a large file should not be in memory twice. */
async function decipher(
  key: Uint8Array,
  iv: Uint8Array,
  ciphertext: Uint8Array,
  signal: AbortSignalLike | undefined,
): Promise<Uint8Array> {
  const sizer = new ChunkSizer(signal);
  const cipher = new AesCtr(key, iv);
  try {
    for (let start = 0; start < ciphertext.length; start += PIECE) {
      ciphertext.set(cipher.update(ciphertext.subarray(start, start + PIECE)), start);
      if (sizer.shouldYield) await sizer.yieldNow();
    }
    const last = cipher.final();
    ciphertext.set(last, ciphertext.length - last.length);
    return ciphertext;
  } catch (error) {
    // Aborted: nobody gets what is plaintext by now.
    cipher.dispose();
    wipe(ciphertext);
    throw error;
  }
}

/** Writes an encrypted file piece by piece: encrypts, authenticates and armors. */
export class ExportSealer {
  readonly #cipher: AesCtr;
  readonly #mac;
  readonly #armor = new ArmorWriter();
  #header: Uint8Array;

  private constructor(keys: Uint8Array, header: Uint8Array, iv: Uint8Array) {
    this.#cipher = new AesCtr(keys.subarray(0, 32), iv);
    this.#mac = hmac.create(sha256, keys.subarray(32));
    this.#header = header;
  }

  /**
   * Derives the keys, with a new salt and a new IV.
   *
   * @throws {@link KeyBackupError} `bad-parameters` for the rounds or an empty passphrase; `aborted`;
   * `backend-failed`.
   */
  static async create(passphrase: string, iterations: number, options: DeriveOptions): Promise<ExportSealer> {
    if (!Number.isInteger(iterations) || iterations < MIN_EXPORT_ITERATIONS || iterations > MAX_ITERATIONS) {
      throw new KeyBackupError(
        'bad-parameters',
        `iterations: expected 100,000 to 10,000,000, got ${numberOr(iterations)}`,
      );
    }
    const password = passwordBytes(passphrase);
    if (password.length === 0) {
      throw new KeyBackupError(
        'bad-parameters',
        'passphrase: expected some text, got an empty one: it protects nothing',
      );
    }
    const salt = randomBytes(SALT);
    const iv = randomBytes(IV);
    // Counters of 64 bits in some readers must not overflow.
    iv[8] &= 0x7f;
    try {
      const keys = await pbkdf2(password, salt, iterations, 64, options);
      const header = concat(Uint8Array.of(VERSION), salt, iv, u32(iterations));
      const sealer = new ExportSealer(keys, header, iv);
      wipe(keys);
      return sealer;
    } finally {
      wipe(password);
    }
  }

  /** Takes in plaintext. Returns the text of the file as far as it is certain, maybe none. */
  push(plaintext: Uint8Array): string {
    const bytes = concat(this.#header, this.#cipher.update(plaintext));
    this.#header = new Uint8Array(0);
    this.#mac.update(bytes);
    return this.#armor.push(bytes);
  }

  /** The rest of the file. Wipes the keys: nothing can follow. */
  end(): string {
    const last = this.#cipher.final();
    this.#mac.update(last);
    return this.#armor.push(concat(last, this.#mac.digest())) + this.#armor.end();
  }

  /** Wipes the keys, also those of a file that is not written to its end. */
  dispose(): void {
    this.#cipher.dispose();
    this.#mac.destroy();
  }
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}
