import { expectFunction, expectOptions } from '../encoding/arguments.js';
import type { Handler } from './handler.js';
import type { BackupStore } from './store.js';

/** Puts `GET /health` before a handler: 200 while the store answers, else 503. Without authentication. */
export function withHealth(handler: Handler, store: BackupStore): Handler {
  expectFunction(handler, 'handler');
  expectOptions(store, 'store');
  return async (request, env) => {
    if (!/^[a-z]+:\/\/[^/]+\/health$/.test(request.url) || request.method !== 'GET')
      return handler(request, env);
    const healthy = await store.ping().then(
      () => true,
      () => false,
    );
    return Response.json({ status: healthy ? 'ok' : 'store-failed' }, { status: healthy ? 200 : 503 });
  };
}
