import { InputError } from './errors.js';
import { isJsonObject } from '../encoding/json.js';
import { isUserId } from './command.js';
import { isToken } from './homeserver.js';
import { warnIfReadable } from './key-file.js';
import { readText } from './json-file.js';
import type { Terminal } from './terminal.js';

/** A user of `migrate`, with the right to both servers. */
export interface MigratingUser {
  readonly user_id: string;
  readonly from_token: string;
  readonly to_token: string;
}

/** A hundred thousand users fit; what is larger is another file given by mistake. */
const MAX_BYTES = 64 << 20;
const FIELDS = new Set(['user_id', 'from_token', 'to_token']);

/**
 * Reads the users of `migrate`: a JSON array of `user_id`, `from_token` and, where it is another, `to_token`.
 *
 * @throws {@link InputError} when it is unreadable or something else. Nothing that stands in the file is quoted.
 */
export async function readUsersFile(path: string, terminal: Terminal): Promise<MigratingUser[]> {
  let value: unknown;
  try {
    value = JSON.parse(
      await readText(path, 'users', MAX_BYTES, (stats) => {
        warnIfReadable(path, stats, terminal);
      }),
    );
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    // The platform's error quotes the text.
    throw new InputError(`${path}: expected JSON, got something else`);
  }
  if (!Array.isArray(value) || value.length === 0) {
    throw new InputError(
      `${path}: expected an array of users, [{"user_id": ID, "from_token": TOKEN}], got ${Array.isArray(value) ? 'an empty one' : 'something else'}`,
    );
  }
  const users = value.map((entry, i) => readUser(entry, `${path}: [${i}]`));
  const seen = new Set<string>();
  for (const [i, { user_id }] of users.entries()) {
    if (seen.has(user_id)) throw new InputError(`${path}: [${i}]: this user stands there twice`);
    seen.add(user_id);
  }
  return users;
}

function readUser(entry: unknown, where: string): MigratingUser {
  if (!isJsonObject(entry)) throw new InputError(`${where}: expected an object`);
  if (Object.keys(entry).some((name) => !FIELDS.has(name))) {
    throw new InputError(`${where}: expected user_id, from_token and perhaps to_token, got other fields`);
  }
  const { user_id, from_token, to_token = from_token } = entry;
  if (typeof user_id !== 'string' || !isUserId(user_id)) {
    throw new InputError(`${where}.user_id: expected a user id, @name:server`);
  }
  return {
    user_id,
    from_token: token(from_token, `${where}.from_token`),
    to_token: token(to_token, `${where}.to_token`),
  };
}

/** What else stands there could not go into a header, and the platform would quote it. */
function token(value: unknown, where: string): string {
  if (typeof value === 'string' && isToken(value)) return value;
  throw new InputError(`${where}: expected an access token`);
}
