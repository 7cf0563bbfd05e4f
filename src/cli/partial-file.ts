import { open, readFile, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import type { RestoreState } from '../client/restore.js';
import { noAuthenticity, type AuthenticityCounts, type Place } from '../report/report.js';
import { InputError, systemError } from './errors.js';
import { objectIn } from './files.js';
import { SessionArray, writeStateFile } from './outputs.js';
import type { Terminal } from './terminal.js';

const FORMAT = 'megolm-backup-restore/1';
/** Gathered before it is written: a system call for every key would cost more than the key. */
const BUFFER = 64 * 1024;

/** A key that came out with flags: the report names it, also when a later run finishes the restore. */
type FlaggedKey = Place & { readonly flags: readonly string[] };

interface Header {
  readonly format: typeof FORMAT;
  readonly version: string;
  readonly etag: string;
  readonly rooms: readonly string[] | null;
  /** Bytes of the partial file that belong to the keys delivered. */
  readonly length: number;
  readonly flagged: readonly FlaggedKey[];
  /** Absent in files of earlier versions of this program. */
  readonly authenticity?: Readonly<AuthenticityCounts>;
}

/** What an earlier run left. */
interface Earlier {
  readonly header: Header;
  readonly state: RestoreState;
}

/**
 * The output of a restore: an array, one session a line, that grows in `FILE.partial` and is renamed at the end.
 * `FILE.state` records its progress: one line of JSON, then the digests of the keys delivered. Whatever a crash wrote
 * after that is cut off when the restore resumes. Both have mode 0600.
 */
export class PartialFile {
  /** Where the keys are until the end. */
  readonly path: string;
  readonly statePath: string;
  readonly sessions: SessionArray;
  /** Where to resume, if an earlier run was stopped. */
  readonly state: RestoreState | undefined;
  readonly flagged: FlaggedKey[];
  /** How many of the keys delivered prove where they come from. */
  readonly authenticity: AuthenticityCounts;
  readonly #finalPath: string;
  readonly #rooms: readonly string[] | null;
  readonly #file: FileHandle;
  #length: number;
  #pending = '';

  private constructor(path: string, file: FileHandle, rooms: Header['rooms'], earlier: Earlier | undefined) {
    this.#finalPath = path;
    this.path = `${path}.partial`;
    this.statePath = `${path}.state`;
    this.#file = file;
    this.#rooms = rooms;
    const { length = 0, flagged = [], authenticity } = earlier?.header ?? {};
    this.#length = length;
    this.state = earlier?.state;
    this.flagged = [...flagged];
    this.authenticity = { ...noAuthenticity(), ...authenticity };
    this.sessions = new SessionArray({ write: (text) => this.#write(text) }, length === 0);
  }

  /** Opens the file, at the place where an earlier run of the same backup and rooms was stopped. */
  static async open(
    path: string,
    version: string,
    rooms: readonly string[] | undefined,
    terminal: Terminal,
  ): Promise<PartialFile> {
    const existing = await stat(path).catch(() => undefined);
    if (existing && !existing.isFile()) {
      throw new InputError(`-o: ${path}: expected a plain file or a new name, got something else`);
    }
    const wanted = rooms ? [...rooms].sort() : null;
    const earlier = await readState(`${path}.state`);
    const { length = 0, version: earlierVersion, rooms: earlierRooms } = earlier?.header ?? {};
    if (earlier && JSON.stringify([earlierVersion, earlierRooms]) !== JSON.stringify([version, wanted])) {
      throw new InputError(
        `${path}.state: belongs to another backup or other rooms; remove it to begin anew`,
      );
    }
    const partial = `${path}.partial`;
    try {
      const file = await open(partial, earlier ? 'r+' : 'w', 0o600);
      const { size } = await file.stat();
      if (size < length) {
        await file.close();
        throw new InputError(
          `${partial}: expected ${length} bytes or more, got ${size}; remove ${path}.state`,
        );
      }
      await file.truncate(length);
      if (earlier) terminal.stderr(`resuming ${partial}\n`);
      return new PartialFile(path, file, wanted, earlier);
    } catch (cause) {
      if (cause instanceof InputError) throw cause;
      throw new InputError(`-o: cannot write ${partial} (${systemError(cause)})`, { cause });
    }
  }

  /** Makes sure that all sessions are on the disk, and saves the state. */
  async save({ version, etag, delivered }: RestoreState): Promise<void> {
    await this.#flush();
    await this.#file.datasync();
    const header: Header = {
      format: FORMAT,
      version,
      etag,
      rooms: this.#rooms,
      length: this.#length,
      flagged: this.flagged,
      authenticity: this.authenticity,
    };
    await writeStateFile(
      this.statePath,
      Buffer.concat([Buffer.from(`${JSON.stringify(header)}\n`), delivered]),
    );
  }

  /** Ends the array and renames the file. */
  async finish(): Promise<void> {
    await this.sessions.end();
    await this.#flush();
    await this.#file.sync();
    await this.close();
    await rename(this.path, this.#finalPath);
    await rm(this.statePath, { force: true });
  }

  /** Removes what there is. */
  async discard(): Promise<void> {
    await this.close();
    for (const path of [this.path, this.statePath]) await rm(path, { force: true });
  }

  /** Leaves the file as it is; may be called again. */
  async close(): Promise<void> {
    await this.#file.close();
  }

  async #write(text: string): Promise<void> {
    this.#pending += text;
    if (this.#pending.length >= BUFFER) await this.#flush();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.from(this.#pending);
    for (let written = 0; written < bytes.length;) {
      const at = this.#length + written;
      written += (await this.#file.write(bytes, written, bytes.length - written, at)).bytesWritten;
    }
    // Only now: after a failure the state must not count sessions that are not on the disk.
    this.#pending = '';
    this.#length += bytes.length;
  }
}

async function readState(path: string): Promise<Earlier | undefined> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new InputError(`cannot read ${path} (${systemError(cause)})`, { cause });
  }
  const end = bytes.indexOf('\n');
  const header = end < 0 ? undefined : parseHeader(bytes.toString('utf8', 0, end));
  if (!header) throw new InputError(`${path}: expected the state of a restore; remove it to begin anew`);
  const { version, etag } = header;
  return { header, state: { version, etag, delivered: Uint8Array.from(bytes.subarray(end + 1)) } };
}

function parseHeader(text: string): Header | undefined {
  const header = objectIn(text);
  if (!header) return undefined;
  const { format, version, etag, length, flagged } = header;
  const isHeader = format === FORMAT && Number.isSafeInteger(length) && Array.isArray(flagged);
  if (!isHeader || typeof version !== 'string' || typeof etag !== 'string') return undefined;
  return header as unknown as Header;
}
