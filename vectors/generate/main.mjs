/**
 * Makes every vector file: `node vectors/generate/main.mjs [--out DIRECTORY]`.
 *
 * The order counts: vodozemac draws from one generator of its own, seeded once per process.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { authData } from './auth-data.mjs';
import { backupMac } from './backup-mac.mjs';
import { canonicalJson } from './canonical-json.mjs';
import { keyExportDerived, keyExportInvalid, keyExportOfVodozemac, keyExportPrepare } from './key-export.mjs';
import { passphrase } from './passphrase.mjs';
import { aes256Cbc, ed25519, hkdfSha256, hmacSha256, x25519 } from './published.mjs';
import { recoveryKey } from './recovery-key.mjs';
import { roomKeyInvalid, roomKeyOfLibolm } from './room-key.mjs';
import { sampleExport } from './sample-export.mjs';
import { sessionDataDerived, sessionDataOfLibolm, sessionDataOfVodozemac } from './session-data.mjs';
import { secretStorage } from './secret-storage.mjs';
import { sessionDataInvalid } from './session-data-invalid.mjs';

const { values } = parseArgs({ options: { out: { type: 'string' } } });
const directory = values.out ?? fileURLToPath(new URL('..', import.meta.url));
mkdirSync(directory, { recursive: true });

const files = {
  'session-data.vodozemac': sessionDataOfVodozemac,
  'session-data.libolm': sessionDataOfLibolm,
  'session-data.derived': sessionDataDerived,
  'session-data.invalid': sessionDataInvalid,
  'room-key.libolm': roomKeyOfLibolm,
  'room-key.invalid': roomKeyInvalid,
  'recovery-key': recoveryKey,
  passphrase,
  'auth-data': authData,
  'canonical-json': canonicalJson,
  x25519,
  'hkdf-sha256': hkdfSha256,
  'hmac-sha256': hmacSha256,
  'aes-256-cbc': aes256Cbc,
  ed25519,
  'key-export.vodozemac': keyExportOfVodozemac,
  'key-export.derived': keyExportDerived,
  'key-export.invalid': keyExportInvalid,
  'key-export.prepare': keyExportPrepare,
  'secret-storage': secretStorage,
  'backup-mac': backupMac,
};

for (const [name, make] of Object.entries(files)) {
  const { cases, ...head } = await make();
  // One case a line: a change of one is a change of one line.
  const top = JSON.stringify(head, null, 2).slice(0, -2);
  write(`${name}.json`, `${top},\n  "cases": [\n    ${cases.map(toLine).join(',\n    ')}\n  ]\n}\n`);
}

const sample = sampleExport();
write('sample-export.json', `[\n${sample.map(toLine).join(',\n')}\n]\n`);

/** JSON.stringify escapes lone surrogates by itself; the file is ASCII where eyes could be deceived. */
function toLine(value) {
  return JSON.stringify(value).replace(
    /[\u007f-\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff]/g,
    (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
    },
  );
}

function write(name, text) {
  writeFileSync(join(directory, name), text);
}
