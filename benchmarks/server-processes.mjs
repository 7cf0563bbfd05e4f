// The servers that are measured, each in a process of its own.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HttpClient } from './http-client.mjs';

const main = new URL('../dist/cli/main.js', import.meta.url).pathname;
const token = 'bench';

/** Ours, on the database that these options of `serve` name. */
export async function startServer(directory, database) {
  const tokens = join(directory, 'tokens.json');
  const sha256 = createHash('sha256').update(token).digest('hex');
  writeFileSync(
    tokens,
    JSON.stringify([{ sha256, user_id: `@bench${process.pid}:x`, device_id: 'BENCHMARK' }]),
  );
  const options = ['--tokens', tokens, '--listen', '127.0.0.1:0', '--rate-limit', '0', '--json'];
  return start([main, 'serve', ...database, ...options]);
}

export async function startHttpAlone() {
  return start([new URL('http-alone.mjs', import.meta.url).pathname]);
}

/** Another server of the API, which runs on this machine already. */
export function runningServer(url, itsToken) {
  const client = new HttpClient(url, itsToken);
  return {
    client,
    call: (...request) => client.call(...request),
    cpu: () => NaN,
    stop: () => client.close(),
  };
}

/** Prints its address first. */
async function start(args) {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const line = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)));
    child.stdout.once('data', (chunk) => resolve(String(chunk)));
  });
  const { url } = JSON.parse(line);
  const client = new HttpClient(url, token);
  return {
    url,
    client,
    call: (...request) => client.call(...request),
    memory: (field = 'VmRSS') => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) / 1024);
    },
    // Seconds of processor time: says more than the clock where the machine is shared.
    cpu: () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', resolve);
        child.kill('SIGTERM');
        client.close();
      }),
  };
}
