// Runs the checks of package.json that are named here at the same time, and shows what they print one after the other.
// Ends with 1 if one has failed.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const CHECKS = ['lint', 'typecheck', 'unused'];

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

for (const [i, running] of CHECKS.map(run).entries()) {
  const { passed, printed } = await running;
  process.stdout.write(`${printed}${CHECKS[i]}: ${passed ? 'passed' : 'FAILED'}\n`);
  if (!passed) process.exitCode = 1;
}
