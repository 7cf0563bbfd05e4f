import { InputError, systemError } from './errors.js';
import type { Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { parseObject, type JsonObject } from '../encoding/json.js';

/**
 * Reads a small file that holds one JSON object.
 *
 * @param what - What it should be, for the errors.
 * @param maxBytes - What is larger is another file given by mistake.
 * @throws {@link InputError} when it is unreadable, too large, or no JSON object.
 */
export async function readJsonObject(path: string, what: string, maxBytes: number): Promise<JsonObject> {
  const text = await readText(path, what, maxBytes);
  try {
    return parseObject(text, path);
  } catch (cause) {
    throw new InputError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/**
 * Reads a small text file.
 *
 * @param look - Told what kind of file it is before it is read.
 * @throws {@link InputError} when it is unreadable or too large.
 */
export async function readText(
  path: string,
  what: string,
  maxBytes: number,
  look: (stats: Stats) => void = () => undefined,
): Promise<string> {
  try {
    const file = await open(path, 'r');
    try {
      const stats = await file.stat();
      if (stats.size > maxBytes)
        throw new InputError(`${path}: expected ${what}, got a file of ${stats.size} bytes`);
      look(stats);
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw new InputError(`cannot read ${path} (${systemError(cause)})`, { cause });
  }
}
