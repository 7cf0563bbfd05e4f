import type { Replacement } from '../../server/store.js';
import { defineCommand } from '../command.js';
import { DATABASE } from '../options.js';
import { openStore } from '../store.js';

const PAGE = 1_000;

export const command = defineCommand({
  name: 'audit',
  summary: 'say which device replaced which key on a server',
  usage: ['(--db FILE | --postgres URL) --user ID [options]'],
  description: `
Prints which device replaced which key of a user's backups, and when, oldest first. Keys themselves are
never kept there. "serve --keep-audit" sets how long this is kept.
`,
  options: {
    ...DATABASE,
    user: { value: 'ID', required: true, help: 'whose backups' },
    session: { value: 'ID', help: 'only this session' },
    json: { help: 'one JSON object a line' },
  },
  environment: Object.keys(DATABASE),
  exitCodes:
    'Exit code 0 when it could be read, also when nothing was replaced; 2 for wrong usage or no such database.',
  example: 'megolm-backup audit --db backup.db --user @alice:example.org',
  async run({ user, session, json, ...database }, terminal) {
    const store = await openStore(database, terminal, {
      mustExist: true,
      sqlite: { signal: terminal.signal },
    });
    try {
      let after = 0;
      let count = 0;
      for (;;) {
        terminal.signal.throwIfAborted();
        const page = await store.readReplacements(user, after, PAGE);
        const shown = page.filter(({ session_id }) => session === undefined || session_id === session);
        count += shown.length;
        for (const entry of shown) await terminal.write(`${json ? jsonLine(entry) : line(entry)}\n`);
        if (page.length < PAGE) break;
        after = page[PAGE - 1].id;
      }
      terminal.stderr(`${count} replaced keys\n`);
    } finally {
      await store.close();
    }
    return 0;
  },
});

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
