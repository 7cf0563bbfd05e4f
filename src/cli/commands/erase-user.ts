import { defineCommand } from '../command.js';
import { UsageError } from '../errors.js';
import { DATABASE } from '../options.js';
import { openStore } from '../store.js';

export const command = defineCommand({
  name: 'erase-user',
  summary: 'remove a user from a server',
  usage: ['(--db FILE | --postgres URL) --user ID --yes'],
  description: `
Removes everything the server holds about a user: versions, keys and the audit trail. This cannot be undone.
An SQLite file is written anew at the end, so that no deleted data is left in it. A running server may use it meanwhile;
its users' writes then wait, or fail with 503 after 5 s and are repeated. Interrupted, run it again.
`,
  options: {
    ...DATABASE,
    user: { value: 'ID', required: true, help: 'the user to erase' },
    yes: { help: 'confirm' },
  },
  environment: Object.keys(DATABASE),
  exitCodes:
    'Exit code 0 when the user was erased, 1 when there was nothing, 2 for wrong usage or no such database.',
  example: 'megolm-backup erase-user --db backup.db --user @alice:example.org --yes',
  async run({ user, yes, ...database }, terminal) {
    if (!yes) throw new UsageError(`this cannot be undone; add --yes to erase ${user}`);
    const store = await openStore(database, terminal, {
      mustExist: true,
      sqlite: { signal: terminal.signal },
    });
    try {
      const erased = await store.eraseUser(user);
      terminal.stderr(erased ? `erased ${user}\n` : `nothing is held about ${user}\n`);
      return erased ? 0 : 1;
    } finally {
      await store.close();
    }
  },
});
