import { BackupDecryptionKey } from '../../scheme/keys.js';
import { defineCommand } from '../command.js';
import { OUTPUT } from '../options.js';
import { writeOutput } from '../outputs.js';
import { isJsonSummary } from '../results.js';
import { expectNoKeyIn } from '../secrets.js';

export const command = defineCommand({
  name: 'keygen',
  summary: 'make a backup decryption key',
  description: `
Makes a new backup decryption key and prints it three ways:
  recovery_key   its text form, for people (the key of the secret storage looks alike but is another one)
  private_key    base64, as the secret m.megolm_backup.v1 holds it
  public_key     base64, for auth_data.public_key; the only one that is not secret

With -o FILE all three go to a file that only you can read, and only the public key is printed. A file
that holds a key already is never overwritten, not even with --force.
`,
  options: { ...OUTPUT, json: { help: 'print one line of JSON' } },
  exitCodes: 'Exit code 0 when it is made, 2 when the file cannot be.',
  example: 'megolm-backup keygen -o backup-key.json',
  async run({ json, output }, terminal) {
    expectNoKeyIn(output, terminal);
    const key = BackupDecryptionKey.generate();
    const public_key = key.publicKey.toBase64();
    const made = { recovery_key: key.toRecoveryKey(), private_key: key.toBase64(), public_key };
    key.dispose();
    await writeOutput(output, `${JSON.stringify(made, null, json ? 0 : 2)}\n`, terminal);
    if (isJsonSummary({ json: true, output })) {
      terminal.stdout(json ? `${JSON.stringify({ public_key })}\n` : `public key ${public_key}\n`);
    }
    return 0;
  },
});
