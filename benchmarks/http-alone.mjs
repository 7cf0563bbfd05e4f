// What HTTP itself takes on this machine: a server of node:http that parses what it gets and stores nothing. Started
// by server.mjs; the first line it prints is its address.
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { keyData } from './key-data.mjs';

const ROOMS = '/_matrix/client/v3/room_keys/keys';
const CHANGED = JSON.stringify({ etag: '1', count: 1 });
const key = keyData(0);
const one = JSON.stringify(key);
const many = JSON.stringify({
  rooms: Object.fromEntries(
    Array.from({ length: 200 }, (_, room) => [
      `!room${room}:example.org`,
      {
        sessions: Object.fromEntries(
          Array.from({ length: 50 }, () => [randomBytes(32).toString('base64').slice(0, 43), key]),
        ),
      },
    ]),
  ),
});

const server = http.createServer((request, response) => {
  const answer = (body) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(body);
  };
  if (request.method === 'GET') {
    answer(request.url.startsWith(`${ROOMS}/`) ? one : many);
    return;
  }
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', () => {
    JSON.parse(Buffer.concat(chunks).toString());
    answer(CHANGED);
  });
});
server.listen(0, '127.0.0.1', () => {
  console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` }));
});
