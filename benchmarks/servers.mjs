// The servers that are measured, each in a process of its own.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Connection, requestBytes } from './http-client.mjs';

const TOKEN = 'bench';
const root = fileURLToPath(new URL('..', import.meta.url));

/** Starts `serve` of a build on the database that these options name. */
export async function startServer(name, folder, database, build = root) {
  const tokens = join(folder, 'tokens.json');
  const sha256 = createHash('sha256').update(TOKEN).digest('hex');
  writeFileSync(
    tokens,
    JSON.stringify([{ sha256, user_id: `@bench${process.pid}:x`, device_id: 'BENCHMARK' }]),
  );
  const options = ['--tokens', tokens, '--listen', '127.0.0.1:0', '--rate-limit', '0', '--json'];
  const child = spawn(process.execPath, [join(build, 'dist/cli/main.js'), 'serve', ...database, ...options], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const line = await new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the server exited with ${code}`)));
    child.stdout.once('data', resolve);
  });
  return {
    ...runningServer(name, JSON.parse(line).url, TOKEN),
    /** Resident megabytes, or the most so far with `VmHWM`. */
    memory: (field = 'VmRSS') => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
      return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)[1]) / 1024;
    },
    /** Seconds of processor time, which a busy machine changes less than the time by the clock. */
    cpu: () => {
      const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1].split(' ');
      return (Number(fields[11]) + Number(fields[12])) / 100;
    },
    kill: () => child.kill('SIGKILL'),
    stop: () =>
      new Promise((resolve) => {
        child.once('exit', resolve);
        child.kill('SIGTERM');
      }),
  };
}

/** Another server of the API, already running on this machine. */
export function runningServer(name, url, token) {
  const { port } = new URL(url);
  const request = (...args) => requestBytes(token, ...args);
  const open = () => new Connection(port);
  return {
    name,
    port: Number(port),
    request,
    open,
    call: async (...args) => {
      const connection = open();
      try {
        return await connection.send(request(...args));
      } finally {
        connection.close();
      }
    },
    cpu: () => NaN,
    stop: () => undefined,
  };
}
