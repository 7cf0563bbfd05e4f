// Streams sessions through encryption and decryption in one pipeline that holds none of them, and prints the highest
// resident size of the process as JSON: node memory.mjs 1000000
import { BackupDecryptionKey, decryptSessions, encryptSessions } from '../dist/index.js';
import { makeSession } from './sessions.mjs';

const count = Number(process.argv[2]);
const key = BackupDecryptionKey.generate();
const template = makeSession();

function* sessions() {
  // A fresh object each time, as a parser makes them. What is in the session does not matter here.
  for (let i = 0; i < count; i++) yield { ...template, room_id: `!${i}:example.org` };
}

async function* records(results) {
  for await (const result of results) {
    if (!result.ok) throw result.error;
    yield JSON.parse(JSON.stringify(result));
  }
}

let done = 0;
const encrypted = encryptSessions(sessions(), key.publicKey, { total: count });
for await (const result of decryptSessions(records(encrypted), key, { total: count })) {
  if (!result.ok || result.index !== done++) throw new Error('a session was lost');
}
if (done !== count) throw new Error(`expected ${count} sessions, got ${done}`);
// In KiB, workers included.
console.log(JSON.stringify({ sessions: done, peakMegabytes: process.resourceUsage().maxRSS / 1024 }));
