import { existsSync } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import { identityOf, type DownloadLog } from '../client/resumable-download.js';
import type { VersionInfo } from '../wire/types.js';
import { InputError, systemError } from './errors.js';
import { isFile, isFilled, objectIn, readChunks } from './files.js';
import type { Terminal } from './terminal.js';

const FORMAT = 'megolm-backup-rescue/1';

/** Gathered before it is written: a system call for every batch would cost more than the batch. */
const BUFFER = 1 << 20;

/**
 * The records of a download that has not ended, still encrypted, in a file for its owner only (0600). The first line
 * says which backup they are of. It is made when the first records come.
 */
export class DownloadFile implements DownloadLog {
  /** `undefined` for an output that is no file: then nothing is kept. */
  readonly path: string | undefined;
  /** Whether an earlier download left it. */
  readonly resumes: boolean;
  readonly #header: string;
  readonly #terminal: Terminal;
  #file: FileHandle | undefined;
  #pending = '';

  private constructor(path: string | undefined, header: string, resumes: boolean, terminal: Terminal) {
    this.path = path;
    this.resumes = resumes;
    this.#header = header;
    this.#terminal = terminal;
  }

  /**
   * Opens `OUTPUT.state`.
   *
   * @throws {@link InputError} for a file that belongs to another backup, or to something else.
   */
  static async open(output: string, info: VersionInfo, terminal: Terminal): Promise<DownloadFile> {
    const identity = { format: FORMAT, ...identityOf(info) };
    const header = `${JSON.stringify(identity)}\n`;
    const isKept = output !== '-' && (isFile(output) || !existsSync(output));
    const path = isKept ? `${output}.state` : undefined;
    const make = (resumes: boolean) => new DownloadFile(path, header, resumes, terminal);
    if (path === undefined || !isFilled(path)) return make(false);
    const found = objectIn(await firstLine(path, terminal));
    if (found?.format !== FORMAT) {
      throw new InputError(`${path}: expected the state of a rescue; remove it to begin anew`);
    }
    const { version, public_key, etag } = found;
    if (version !== identity.version || public_key !== identity.public_key) {
      throw new InputError(`${path}: belongs to another backup; remove it to begin anew`);
    }
    if (etag === identity.etag) {
      terminal.stderr(`resuming with the keys in ${path}\n`);
      return make(true);
    }
    terminal.stderr(`the backup has changed since ${path} was written; starting again\n`);
    return make(false);
  }

  async append(lines: string): Promise<void> {
    if (this.path === undefined) return;
    this.#pending += lines;
    if (this.#pending.length >= BUFFER) await this.#flush();
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    await this.#flush();
    if (this.path !== undefined && (this.resumes || this.#file)) yield* readChunks(this.path, this.#terminal);
  }

  /** Leaves the file for the next run. Returns whether there is one. */
  async close(): Promise<boolean> {
    await this.#flush();
    await this.#file?.close();
    return this.resumes || this.#file !== undefined;
  }

  /** Removes the file. */
  async remove(): Promise<void> {
    this.#pending = '';
    await this.#file?.close();
    if (this.path !== undefined) await rm(this.path, { force: true });
  }

  async #flush(): Promise<void> {
    const { path } = this;
    const lines = this.#pending;
    if (path === undefined || lines === '') return;
    this.#pending = '';
    try {
      if (!this.#file) {
        this.#file = await open(path, this.resumes ? 'a' : 'w', 0o600);
        // A crash may have left half a line.
        await this.#file.appendFile(this.resumes ? '\n' : this.#header);
      }
      await this.#file.appendFile(lines);
    } catch (cause) {
      throw new InputError(`cannot write to ${path} (${systemError(cause)})`, { cause });
    }
  }
}

async function firstLine(path: string, terminal: Terminal): Promise<string> {
  for await (const chunk of readChunks(path, terminal)) return new TextDecoder().decode(chunk).split('\n')[0];
  return '';
}
