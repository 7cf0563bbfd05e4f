// An HTTP/1.1 client that costs almost nothing: client and server share the processors, and node:http costs more than
// the server does. It only understands the answers of the servers measured here.
import { connect } from 'node:net';

const LAST_CHUNK = Buffer.from('0\r\n\r\n');

/** The bytes of a request, made before the clock starts. */
export function requestBytes(token, method, path, body) {
  const bytes = Buffer.from(body ?? '');
  const head = [
    `${method} /_matrix/client/v3/room_keys${path} HTTP/1.1`,
    'host: 127.0.0.1',
    `authorization: Bearer ${token}`,
    ...(body === undefined ? [] : ['content-type: application/json', `content-length: ${bytes.length}`]),
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), bytes]);
}

/** One connection, with one request at a time. */
export class Connection {
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
