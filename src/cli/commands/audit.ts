import { UsageError } from '../errors.js';
import type { Replacement } from '../../server/store.js';
import { parseCommand } from '../command.js';
import { STORE_OPTIONS, openStore } from '../open-store.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup audit (--db FILE | --postgres URL) --user ID [--session ID] [--json]

Prints which device replaced which key of a user's backups, and when, oldest first. Keys themselves are never
kept there. How long this is known is set by "serve --keep-audit".

  --user ID      whose backups
  --session ID   only this session
  --json         one JSON object a line

Exit code 0 when it could be read, also when nothing was replaced; 2 for wrong usage or no such database.

example:
  megolm-backup audit --db backup.db --user @alice:example.org
`;

const PAGE = 1_000;

/** `megolm-backup audit` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    { ...STORE_OPTIONS, user: { type: 'string' }, session: { type: 'string' }, json: { type: 'boolean' } },
    [],
  );
  if (values.user === undefined) throw new UsageError('missing option: --user ID');
  const store = await openStore(values, terminal, { mustExist: true });
  try {
    let after = 0;
    let count = 0;
    for (;;) {
      terminal.signal.throwIfAborted();
      const page = await store.readReplacements(values.user, after, PAGE);
      const shown = page.filter(
        ({ session_id }) => values.session === undefined || session_id === values.session,
      );
      count += shown.length;
      for (const entry of shown)
        await terminal.write(`${values.json === true ? jsonLine(entry) : line(entry)}\n`);
      if (page.length < PAGE) break;
      after = page[PAGE - 1].id;
    }
    terminal.stderr(`${count} replaced keys\n`);
  } finally {
    await store.close();
  }
  return 0;
}

function jsonLine({ id: _id, time, ...entry }: Replacement): string {
  return JSON.stringify({ time: new Date(time).toISOString(), ...entry });
}

function line({ time, version, room_id, session_id, before, after }: Replacement): string {
  // Ids are other people's text: quoted, so that they cannot steer a terminal.
  const ids = [version, room_id, session_id].map((id) => JSON.stringify(id)).join(' ');
  return `${new Date(time).toISOString()} ${ids}: ${origin(after)} replaced ${origin(before)}`;
}

function origin({
  device_id,
  is_verified,
  first_message_index,
  forwarded_count,
}: Replacement['before']): string {
  const device = device_id === undefined ? 'an unknown device' : JSON.stringify(device_id);
  const verified = is_verified ? 'verified' : 'not verified';
  return `${device} (${verified}, first_message_index ${first_message_index}, forwarded_count ${forwarded_count})`;
}
