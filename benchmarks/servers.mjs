// The servers that are measured, each in a process of its own, and their client.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

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

const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** The bytes of a request, made before the clock starts. */
function requestBytes(token, method, path, body) {
  const bytes = Buffer.from(body ?? '');
  const head = [
    `${method} /_matrix/client/v3/room_keys${path} HTTP/1.1`,
    'host: 127.0.0.1',
    `authorization: Bearer ${token}`,
    ...(body === undefined ? [] : ['content-type: application/json', `content-length: ${bytes.length}`]),
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), bytes]);
}

/**
 * One connection, with one request at a time. It costs almost nothing, and only understands the answers of the servers
 * measured here: client and server share the processors, and node:http costs more than the server does.
 */
class Connection {
  #socket;
  #waiting;
  #head = Buffer.alloc(0);
  #status;
  #text;
  /** Bytes of the body still to come: undefined before the body, Infinity if it is chunked. */
  #left;
  /** The last bytes of a chunked body. */
  #end;

  constructor(port) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (bytes) => this.#take(bytes));
    this.#socket.on('error', (error) => this.#waiting?.reject(error));
    this.#socket.on('close', () => this.#waiting?.reject(new Error('the server closed the connection')));
  }

  /** @returns The answer, or only its beginning if it comes in pieces. Any status but 200 is an error. */
  send(request) {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#socket.write(request);
    });
  }

  close() {
    this.#socket.destroy();
  }

  #take(bytes) {
    let body = bytes;
    if (this.#left === undefined) {
      this.#head = Buffer.concat([this.#head, bytes]);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end === -1) return;
      const head = this.#head.toString('latin1', 0, end);
      body = this.#head.subarray(end + 4);
      this.#head = this.#end = Buffer.alloc(0);
      this.#status = head.slice(9, 12);
      this.#text = body.toString('utf8', 0, 1000);
      this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Infinity);
    }
    this.#left -= body.length;
    if (this.#left === Infinity) {
      // JSON text holds no line breaks, so nothing else ends like this.
      this.#end = Buffer.concat([this.#end, body.subarray(-LAST_CHUNK.length)]).subarray(-LAST_CHUNK.length);
      if (!this.#end.equals(LAST_CHUNK)) return;
    } else if (this.#left > 0) return;
    this.#left = undefined;
    const { resolve, reject } = this.#waiting;
    this.#waiting = undefined;
    if (this.#status === '200') resolve(this.#text);
    else reject(new Error(`${this.#status} ${this.#text}`));
  }
}
