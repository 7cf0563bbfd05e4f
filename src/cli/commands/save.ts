import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fetchSecretStorage, ownUserId } from '../../client/account.js';
import { downloadKeys } from '../../client/download.js';
import { RequestError } from '../../client/http-error.js';
import { defineCommand } from '../command.js';
import { InputError, systemError } from '../errors.js';
import { isFilled } from '../files.js';
import { connect, existingBackup, withServer } from '../homeserver.js';
import { HOMESERVER, JSON_SUMMARY, OUTPUT } from '../options.js';
import { withOutput, writeOutput } from '../outputs.js';
import { shareOf, withProgress } from '../results.js';
import { RoomSpool } from '../room-spool.js';

export const command = defineCommand({
  name: 'save',
  summary: 'save the backup of an account in files that "rescue" reads',
  arguments: ['DIRECTORY'],
  usage: ['DIRECTORY --homeserver WHERE [options]'],
  description: `
Saves everything that a rescue needs: version.json, keys.json and account.json, as the homeserver gives them.
All of it stays encrypted; your recovery key or phrase is not asked for. If the connection breaks for good,
the keys that came are in keys.partial.json, which "rescue" reads as well.
`,
  options: { ...HOMESERVER, force: OUTPUT.force, ...JSON_SUMMARY },
  exitCodes: `Exit code 0 when every key was saved, 1 when the homeserver sent fewer than it counts, 2 when there is no way
    to the server.`,
  example: 'megolm-backup save backup-of-alice --homeserver @alice:example.org --token-file token.txt',
  async run({ force, json, ...server }, terminal, directory) {
    const path = (name: string) => join(directory, name);
    const taken = ['version.json', 'keys.json', 'account.json'].map(path).find(isFilled);
    if (taken !== undefined && !force) throw new InputError(`${taken} exists; --force overwrites it`);
    const roomKeys = await connect(server, terminal);
    const { signal } = terminal;
    const info = await existingBackup(roomKeys, signal);
    const accountData = await withServer(async () =>
      fetchSecretStorage(roomKeys, await ownUserId(roomKeys, { signal }), { signal }),
    );
    await mkdir(directory, { recursive: true, mode: 0o700 }).catch((cause: unknown) => {
      throw new InputError(`cannot make ${directory} (${systemError(cause)})`, { cause });
    });
    const write = (name: string, value: unknown) =>
      writeOutput(path(name), `${JSON.stringify(value, null, 2)}\n`, terminal);
    await write('version.json', info);
    await write('account.json', accountData);

    const [saved, unreadable] = await RoomSpool.with(path('keys.json'), async (keys) => {
      let saved = 0;
      let unreadable = 0;
      const writeKeys = (name: string) =>
        withOutput(path(name), terminal, async (output) => {
          await keys.writeTo(output);
          await output.commit();
        });
      try {
        await withProgress(terminal, async (show) => {
          for await (const batch of downloadKeys(roomKeys, info.version, { signal })) {
            for (const item of batch) {
              if (item.error) {
                unreadable++;
              } else {
                await keys.add(item.room_id, item.session_id, item.key_backup_data);
                saved++;
              }
            }
            show(saved, shareOf({ done: saved, total: info.count }));
          }
        });
      } catch (cause) {
        if (!(cause instanceof RequestError) || cause.code === 'aborted' || saved === 0) throw cause;
        await writeKeys('keys.partial.json');
        throw new InputError(
          `${cause.code}: ${cause.message}; the ${saved} keys that came are in ${path('keys.partial.json')}`,
          { cause },
        );
      }
      await writeKeys('keys.json');
      return [saved, unreadable];
    });
    const missing = Math.max(0, (info.count ?? saved) - saved - unreadable);
    if (json) terminal.stdout(`${JSON.stringify({ version: info.version, saved, unreadable, missing })}\n`);
    terminal.stderr(`${saved} keys saved in ${directory}\n`);
    if (unreadable > 0) terminal.stderr(`${unreadable} places in the answer hold no readable record\n`);
    if (missing > 0) terminal.stderr(`${missing} fewer than the homeserver counts\n`);
    return unreadable + missing === 0 ? 0 : 1;
  },
});
