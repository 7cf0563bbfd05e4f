import { excerpt } from '../../encoding/quote.js';
import { verifyAuthData, type AuthDataVerdict, type SignatureState } from '../../scheme/auth-data.js';
import { defineCommand, parseUserId } from '../command.js';
import { KEY_FILE, TRUSTED_KEY } from '../options.js';
import { TWICE } from '../../report/rescue.js';
import { parseSigningKey, readAuthDataFile, readKeyFile } from '../secrets.js';

export const command = defineCommand({
  name: 'verify',
  summary: 'check whether an auth_data can be trusted',
  description: `
Says whether a backup can be trusted, and why: by your decryption key, by a signature of a key you trust, or
not at all. AUTH_DATA.json holds the auth_data alone or the whole version object of the server.
`,
  arguments: ['AUTH_DATA.json'],
  options: {
    user: { value: 'ID', required: true, help: 'whose backup it is; only this user’s signatures count' },
    ...TRUSTED_KEY,
    'known-key': {
      value: 'ed25519:ID=BASE64',
      repeatable: true,
      help: 'a key whose signatures can be checked but make nothing trusted; may be repeated',
    },
    ...KEY_FILE,
    json: { help: 'print the verdict as JSON' },
  },
  exitCodes: 'Exit code 0 when the backup is trusted, 1 when it is not.',
  example: `megolm-backup verify version.json --user @alice:example.org \\
    --key ed25519:JLAFKJWSCS=l+AQxFGYMXxSzYyvNjvOQ1pGDFT9vaGdFVHqrKWYQEI`,
  async run({ user, key, knownKey, keyFile, json }, terminal, path) {
    const userId = parseUserId('--user', user);
    const trustedKeys = key.map(parseSigningKey);
    const knownKeys = knownKey.map(parseSigningKey);
    const authData = await readAuthDataFile(path, terminal);
    const decryptionKey = keyFile === undefined ? undefined : await readKeyFile(keyFile, terminal);
    const verdict = verifyAuthData(authData, { userId, trustedKeys, knownKeys, decryptionKey });
    decryptionKey?.dispose();
    terminal.stdout(json ? `${JSON.stringify(asJson(verdict))}\n` : asText(verdict));
    return verdict.trusted ? 0 : 1;
  },
});

const STATES: Readonly<Record<SignatureState, string>> = {
  missing: 'missing',
  invalid: 'invalid',
  'valid-untrusted': 'valid, but not trusted',
  'valid-trusted': 'valid and trusted',
};

function asJson({ trusted, by, reason, publicKey, keyMatches, flags, signatures }: AuthDataVerdict) {
  return {
    trusted,
    by,
    reason,
    public_key: publicKey?.toBase64() ?? null,
    ...(keyMatches !== undefined && { key_matches: keyMatches }),
    ...(flags.length > 0 && { flags }),
    signatures: signatures.map(({ userId, keyId, state, reason: why }) => ({
      user_id: userId,
      key_id: keyId,
      state,
      reason: why,
    })),
  };
}

function asText({ trusted, by, reason, publicKey, flags, signatures }: AuthDataVerdict): string {
  const lines = [
    `${trusted ? `trusted (by ${by === 'signature' ? 'a signature' : 'the decryption key'})` : 'NOT trusted'}: ${reason}`,
    `public key: ${publicKey?.toBase64() ?? (flags.length > 0 ? TWICE : 'none that can be used')}`,
    ...signatures.map(
      ({ userId, keyId, state, reason: why }) =>
        `${excerpt(userId)} ${excerpt(keyId)}: ${STATES[state]} (${why})`,
    ),
  ];
  if (signatures.length === 0) lines.push('no signatures');
  return `${lines.join('\n')}\n`;
}
