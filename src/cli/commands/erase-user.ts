import { UsageError } from '../errors.js';
import { parseCommand } from '../command.js';
import { STORE_OPTIONS, openStore } from '../open-store.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup erase-user (--db FILE | --postgres URL) --user ID --yes

Removes everything the server holds about a user: versions, keys and the audit trail. This cannot be undone. An SQLite
file keeps its size; VACUUM it to free the space.

  --user ID   the user to erase
  --yes       confirm

Exit code 0 when it is gone, 1 when there was nothing, 2 for wrong usage or no such database.

example:
  megolm-backup erase-user --db backup.db --user @alice:example.org --yes
`;

/** `megolm-backup erase-user` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    { ...STORE_OPTIONS, user: { type: 'string' }, yes: { type: 'boolean' } },
    [],
  );
  if (values.user === undefined) throw new UsageError('missing option: --user ID');
  if (values.yes !== true) throw new UsageError(`this cannot be undone; add --yes to erase ${values.user}`);
  const store = await openStore(values, terminal, { mustExist: true });
  try {
    const erased = await store.eraseUser(values.user);
    terminal.stderr(erased ? `erased ${values.user}\n` : `nothing is held about ${values.user}\n`);
    return erased ? 0 : 1;
  } finally {
    await store.close();
  }
}
