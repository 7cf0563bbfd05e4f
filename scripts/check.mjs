// Runs scripts of package.json, on two processors: what takes longest beside everything else. Shows what they print one
// after the other, and exits with 1 if one has failed.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** In a row, each needs those before it or shares their processor. */
const ROWS = [['lint'], ['build', 'typecheck', 'format:check', 'unused']];

const root = fileURLToPath(new URL('..', import.meta.url));

function run(check) {
  const child = spawn('npm', ['run', '--silent', check], { cwd: root, shell: process.platform === 'win32' });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (printed += text));
  }
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ passed: false, printed: `${error.message}\n` }));
    child.once('close', (code) => resolve({ passed: code === 0, printed }));
  });
}

await Promise.all(
  ROWS.map(async (row) => {
    for (const check of row) {
      const { passed, printed } = await run(check);
      process.stdout.write(`${printed}${check}: ${passed ? 'passed' : 'FAILED'}\n`);
      if (!passed) process.exitCode = 1;
    }
  }),
);
