/** The suite for Hermes' own shell: bundled, made into what that Hermes understands, with `DATA` before it. */
import './hermes-world.mjs';
import { faultOf } from '#vector-fault';
import { MAX_ITERATIONS, base64Decode } from 'megolm-backup/engine';
import { runSuite } from './suite.mjs';

/** An interpreter without a compiler takes minutes for this many rounds of PBKDF2. */
const MAX_ROUNDS = 2000;

function isLong({ auth_data, description, file }) {
  const rounds = auth_data?.private_key_iterations ?? description?.passphrase?.iterations ?? roundsOf(file);
  // What is beyond all bounds is refused at once.
  return typeof rounds === 'number' && rounds > MAX_ROUNDS && rounds <= MAX_ITERATIONS;
}

/** The rounds that a key export file asks for; they stand after a byte, the salt and the initial counter. */
function roundsOf(file) {
  try {
    const [, body] = /^-+BEGIN [A-Z ]+-+\s([^-]*)/m.exec(file);
    const bytes = base64Decode(body.replace(/\s/g, ''), 'file');
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(33);
  } catch {
    return undefined;
  }
}

const vectors = DATA.vectors.map(({ name, kind, cases }) => ({
  name,
  kind,
  cases: cases.filter((fields) => !isLong(fields)),
}));
runSuite({ vectors, faultOf, sessions: DATA.sessions.slice(0, 20) }).then(
  (result) => {
    print(JSON.stringify(result));
  },
  (error) => {
    print(
      JSON.stringify({ means: [], vectors: 0, checks: [{ area: '', name: '', fault: String(error.stack) }] }),
    );
  },
);
