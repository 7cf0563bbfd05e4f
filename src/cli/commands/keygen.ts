import { InputError } from '../errors.js';
import { BackupDecryptionKey } from '../../scheme/keys.js';
import { parseCommand } from '../command.js';
import { holdsKey } from '../key-file.js';
import { writeOutput } from '../output.js';
import type { Terminal } from '../terminal.js';

export const usage = `usage: megolm-backup keygen [--json] [-o FILE]

Makes a new backup decryption key and prints it three ways:
  recovery_key   its text form, for people (not the key of the secret storage, which looks alike)
  private_key    base64, as the secret m.megolm_backup.v1 holds it
  public_key     base64, for auth_data.public_key; the only one that is no secret

  -o, --output FILE   write that to a new file that only you can read, and print the public key
                      alone; a file that holds a key already is never overwritten
  --json              print one line of JSON

Exit code 0 when it is made, 2 when the file cannot be.

example:
  megolm-backup keygen -o backup-key.json
`;

/** `megolm-backup keygen` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    { json: { type: 'boolean' }, output: { type: 'string', short: 'o' } },
    [],
  );
  const { output } = values;
  if (output !== undefined && (await holdsKey(output, terminal))) {
    throw new InputError(`-o: ${output} holds a key already, maybe the only copy of it; give another name`);
  }
  const key = BackupDecryptionKey.generate();
  const public_key = key.publicKey.toBase64();
  const made = { recovery_key: key.toRecoveryKey(), private_key: key.toBase64(), public_key };
  key.dispose();
  const text = values.json === true ? JSON.stringify(made) : JSON.stringify(made, null, 2);
  await writeOutput(output, `${text}\n`, terminal);
  if (output !== undefined) {
    terminal.stdout(
      values.json === true ? `${JSON.stringify({ public_key })}\n` : `public key ${public_key}\n`,
    );
  }
  return 0;
}
