import { UsageError } from '../errors.js';
import { verifyAuthData, type AuthDataVerdict, type SignatureState } from '../../scheme/auth-data.js';
import { parseSigningKey, readAuthDataFile } from '../auth-data-file.js';
import { parseCommand, parseUserId } from '../command.js';
import { readKeyFile } from '../key-file.js';
import type { Terminal } from '../terminal.js';
import { excerpt } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup verify AUTH_DATA.json --user ID [--key ed25519:ID=BASE64 ...] [options]

Says whether a backup is to be trusted, and why: by the decryption key you hold, by a signature of a key you trust,
or not at all. AUTH_DATA.json holds the auth_data alone or the whole version object of the server.

  --user ID                      whose backup it is; only this user's signatures count
  --key ed25519:ID=BASE64        a key you trust: a verified device's, or your cross-signing master key, whose
                                 ID is the key itself; may be given several times
  --known-key ed25519:ID=BASE64  a key whose signatures can be checked but make nothing trusted
  --key-file FILE                the backup decryption key ("recovery key" or base64); - is standard input
  --json                         print the verdict as JSON

Exit code 0 when the backup is trusted, 1 when it is not.

example:
  megolm-backup verify version.json --user @alice:example.org \\
    --key ed25519:JLAFKJWSCS=l+AQxFGYMXxSzYyvNjvOQ1pGDFT9vaGdFVHqrKWYQEI
`;

const STATES: Readonly<Record<SignatureState, string>> = {
  missing: 'missing',
  invalid: 'invalid',
  'valid-untrusted': 'valid, but not trusted',
  'valid-trusted': 'valid and trusted',
};

/** `megolm-backup verify` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values, positionals } = parseCommand(
    args,
    {
      user: { type: 'string' },
      key: { type: 'string', multiple: true },
      'known-key': { type: 'string', multiple: true },
      'key-file': { type: 'string' },
      json: { type: 'boolean' },
    },
    ['AUTH_DATA.json'],
  );
  if (values.user === undefined) throw new UsageError('missing option: --user ID');
  const userId = parseUserId('--user', values.user);
  const trustedKeys = (values.key ?? []).map(parseSigningKey);
  const knownKeys = (values['known-key'] ?? []).map(parseSigningKey);
  const authData = await readAuthDataFile(positionals[0]);
  const keyFile = values['key-file'];
  const decryptionKey = keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
  const verdict = verifyAuthData(authData, {
    userId,
    trustedKeys,
    knownKeys,
    ...(decryptionKey && { decryptionKey }),
  });
  decryptionKey?.dispose();
  terminal.stdout(values.json === true ? `${JSON.stringify(asJson(verdict))}\n` : asText(verdict));
  return verdict.trusted ? 0 : 1;
}

function asJson({ trusted, by, reason, publicKey, keyMatches, signatures }: AuthDataVerdict) {
  return {
    trusted,
    by,
    reason,
    public_key: publicKey?.toBase64() ?? null,
    ...(keyMatches !== undefined && { key_matches: keyMatches }),
    signatures: signatures.map(({ userId, keyId, state, reason: why }) => ({
      user_id: userId,
      key_id: keyId,
      state,
      reason: why,
    })),
  };
}

function asText({ trusted, by, reason, publicKey, signatures }: AuthDataVerdict): string {
  const lines = [
    `${trusted ? `trusted (by ${by === 'signature' ? 'a signature' : 'the decryption key'})` : 'NOT trusted'}: ${reason}`,
    `public key: ${publicKey?.toBase64() ?? 'none that can be used'}`,
    ...signatures.map(
      ({ userId, keyId, state, reason: why }) =>
        `${excerpt(userId)} ${excerpt(keyId)}: ${STATES[state]} (${why})`,
    ),
  ];
  if (signatures.length === 0) lines.push('no signatures');
  return `${lines.join('\n')}\n`;
}
