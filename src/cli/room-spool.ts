import { randomBytes } from 'node:crypto';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { InputError, systemError } from './errors.js';
import type { Output } from './outputs.js';

/** Gathered before it is written: a system call for every record would cost more than the record. */
const BUFFER = 1 << 18;

/**
 * The records of a backup in a temporary file, from which they are written room by room, because a server may send a
 * room in parts. In memory is only where each part is.
 */
export class RoomSpool {
  readonly #file: FileHandle;
  /** Where the parts of a room begin and end, in turns. */
  readonly #rooms = new Map<string, number[]>();
  readonly #buffer = Buffer.alloc(BUFFER);
  #length = 0;
  #pending = '';

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** Works with a spool beside the file that is to be written. */
  static async with<T>(path: string, work: (spool: RoomSpool) => Promise<T>): Promise<T> {
    const temporary = join(dirname(path), `.spool.${randomBytes(6).toString('hex')}.tmp`);
    try {
      const file = await open(temporary, 'wx+', 0o600);
      try {
        return await work(new RoomSpool(file));
      } finally {
        await file.close();
        await rm(temporary, { force: true });
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).syscall === undefined) throw cause;
      throw new InputError(`cannot write to ${temporary} (${systemError(cause)})`, { cause });
    }
  }

  async add(roomId: string, sessionId: string, record: unknown): Promise<void> {
    const text = `,\n${JSON.stringify(sessionId)}:${JSON.stringify(record)}`;
    const parts = this.#rooms.get(roomId) ?? [];
    this.#rooms.set(roomId, parts);
    if (parts.at(-1) === this.#length) parts.pop();
    else parts.push(this.#length);
    this.#length += Buffer.byteLength(text);
    parts.push(this.#length);
    this.#pending += text;
    if (this.#pending.length >= BUFFER) await this.#flush();
  }

  /** Writes `{"rooms": ...}`. */
  async writeTo(output: Output): Promise<void> {
    await this.#flush();
    let room = '{"rooms":{\n';
    for (const [roomId, parts] of this.#rooms) {
      await output.write(`${room}${JSON.stringify(roomId)}:{"sessions":{`);
      for (let i = 0; i < parts.length; i += 2) {
        // The first record of a room has no comma before it.
        for await (const text of this.#read(parts[i] + (i === 0 ? 1 : 0), parts[i + 1]))
          await output.write(text);
      }
      await output.write('}}');
      room = ',\n';
    }
    await output.write(this.#rooms.size === 0 ? '{"rooms":{}}\n' : '}}\n');
  }

  async *#read(start: number, end: number): AsyncGenerator<string, void, undefined> {
    const decoder = new TextDecoder();
    for (let at = start; at < end;) {
      const { bytesRead } = await this.#file.read(this.#buffer, 0, Math.min(BUFFER, end - at), at);
      if (bytesRead === 0) throw new InputError('the temporary file of the keys was cut off');
      yield decoder.decode(this.#buffer.subarray(0, bytesRead), { stream: true });
      at += bytesRead;
    }
  }

  async #flush(): Promise<void> {
    const text = this.#pending;
    this.#pending = '';
    await this.#file.appendFile(text);
  }
}
