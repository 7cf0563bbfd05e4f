// A client of HTTP/1.1 that takes as little of the machine as can be: what is to be measured is the server, and both
// share the processors. It is no client for anything else: it knows the answers of the servers measured here.
import { connect } from 'node:net';

/** Sends requests over connections that are kept, one at a time over each. */
export class HttpClient {
  #port;
  #token;
  #idle = [];
  #all = [];

  constructor(url, token) {
    this.#port = Number(new URL(url).port);
    this.#token = token;
  }

  /** The bytes of a request, to be made before the clock starts. */
  request(method, path, body) {
    const bytes = body === undefined ? undefined : Buffer.from(body);
    const lines = [
      `${method} /_matrix/client/v3/room_keys${path} HTTP/1.1`,
      'host: 127.0.0.1',
      `authorization: Bearer ${this.#token}`,
      ...(bytes ? ['content-type: application/json', `content-length: ${bytes.length}`] : []),
    ];
    const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
    return bytes ? Buffer.concat([head, bytes]) : head;
  }

  /** @returns The text of the answer, or its beginning where it comes in pieces. Anything but 200 is an error. */
  async send(request) {
    // The server closes those that were not used for long.
    let connection = this.#idle.pop();
    while (connection?.isClosed) connection = this.#idle.pop();
    connection ??= this.#open();
    const text = await connection.send(request);
    this.#idle.push(connection);
    return text;
  }

  /** {@link request} and {@link send} in one. */
  call(method, path, body) {
    return this.send(this.request(method, path, body));
  }

  close() {
    for (const connection of this.#all) connection.close();
  }

  #open() {
    const connection = new Connection(this.#port);
    this.#all = this.#all.filter(({ isClosed }) => !isClosed).concat(connection);
    return connection;
  }
}

const HEAD_END = '\r\n\r\n';
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

class Connection {
  isClosed = false;
  #socket;
  #resolve;
  #reject;
  /** What came of the head so far. */
  #head = Buffer.alloc(0);
  #status = '';
  #text = '';
  /** Bytes of the body that are to come; undefined in a head, Infinity for a body in chunks. */
  #left;
  /** The last bytes of a body in chunks. */
  #end = Buffer.alloc(0);

  constructor(port) {
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (bytes) => this.#take(bytes));
    this.#socket.on('error', (error) => this.#reject?.(error));
    this.#socket.on('close', () => {
      this.isClosed = true;
      this.#reject?.(new Error('the server closed the connection'));
    });
  }

  send(request) {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#socket.write(request);
    });
  }

  close() {
    this.#socket.destroy();
  }

  #take(bytes) {
    if (this.#left !== undefined) {
      this.#takeBody(bytes);
      return;
    }
    const all = this.#head.length > 0 ? Buffer.concat([this.#head, bytes]) : bytes;
    const end = all.indexOf(HEAD_END);
    if (end === -1) {
      this.#head = all;
      return;
    }
    const head = all.toString('latin1', 0, end);
    this.#head = Buffer.alloc(0);
    this.#status = head.slice(9, 12);
    this.#left = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Infinity);
    const body = all.subarray(end + HEAD_END.length);
    this.#text = body.toString('utf8', 0, 1000);
    this.#end = Buffer.alloc(0);
    this.#takeBody(body);
  }

  #takeBody(bytes) {
    this.#left -= bytes.length;
    if (this.#left === Infinity) {
      const { length } = LAST_CHUNK;
      this.#end =
        bytes.length < length ? Buffer.concat([this.#end, bytes]).subarray(-length) : bytes.subarray(-length);
      // JSON text holds no line breaks, so the last chunk cannot be mistaken.
      if (!this.#end.equals(LAST_CHUNK)) return;
    } else if (this.#left > 0) return;
    this.#left = undefined;
    const [resolve, reject] = [this.#resolve, this.#reject];
    this.#resolve = this.#reject = undefined;
    if (this.#status === '200') resolve(this.#text);
    else reject(new Error(`${this.#status} ${this.#text}`));
  }
}
