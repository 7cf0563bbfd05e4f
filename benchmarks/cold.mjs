// The first session that a process encrypts, from when the modules are loaded until the record is there: libolm compiles
// its WebAssembly in this time, and our code was never run. Prints JSON.
//
// node cold.mjs libolm|ours
import olm from '@matrix-org/olm';
import { BackupPublicKey, encryptSessions } from '../dist/index.js';
import { makeSession } from './sessions.mjs';

const session = makeSession();
const publicKey = '3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08';
const start = performance.now();
if (process.argv[2] === 'libolm') {
  await olm.init();
  const encryption = new olm.PkEncryption();
  encryption.set_recipient_key(publicKey);
  encryption.encrypt(JSON.stringify(session));
} else {
  for await (const { ok } of encryptSessions([session], BackupPublicKey.fromBase64(publicKey)))
    if (!ok) throw new Error('not encrypted');
}
console.log(JSON.stringify({ milliseconds: performance.now() - start }));
process.exit(0);
