import { request } from 'node:http';
import { expect, test } from 'vitest';
import { ended, startServe } from '../contracts/kill.js';

test('serve --dev rejects a dot segment, before it asks for a token', async () => {
  const { child, url } = await startServe(['--dev']);
  try {
    const { hostname, port } = new URL(url);
    const path = '/_matrix/client/v3/room_keys/keys/%2E/!r%3Ax?version=v';
    const status = await new Promise((resolve, reject) => {
      request({ host: hostname, port, method: 'DELETE', path }, (response) => {
        response.resume();
        resolve(response.statusCode);
      })
        .on('error', reject)
        .end();
    });
    expect(status).toBe(400);
  } finally {
    await ended(child, 'SIGTERM');
  }
});
