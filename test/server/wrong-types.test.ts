import { createHash } from 'node:crypto';
import * as server from '../../src/server/index.js';
import { createMemoryStore } from '../support/memory-store.js';
import { identify, TOKEN_A } from '../support/serving.js';
import { testWrongTypes } from '../support/wrong-types.js';

const options = () => ({ store: createMemoryStore(), identify });
const handler: server.Handler = () => Promise.resolve(new Response());
const sha256 = createHash('sha256').update(TOKEN_A).digest('hex');
const tokens = [{ sha256, user_id: '@a:x' }];
const BELOW = 'the handler calls it';

testWrongTypes({
  exports: [server],
  secrets: [TOKEN_A],
  made: {
    Log: () => server.createLog(() => undefined),
    MatrixError: () => new server.MatrixError(400, 'M_UNKNOWN', 'x'),
    Metrics: () => server.createMetrics(),
  },
  valid: {
    identifyByHomeserver: () => ['https://example.org', {}],
    identifyByTokens: () => [tokens],
    createApp: () => [options()],
    createHandler: () => [options()],
    createLog: () => [() => undefined, () => new Date(0), 'warn'],
    createMetrics: () => [],
    newVersionId: () => [],
    parseTokensFile: () => [new TextEncoder().encode(JSON.stringify(tokens))],
    withHealth: () => [handler, createMemoryStore()],

    'new MatrixError': 'an error, which callers do not make',
    'Log#request': BELOW,
    'Log#error': () => [new Error('x')],
    'Log#warn': () => ['stopped'],
    'Log#note': () => ['started', { port: 1 }],
    'Metrics#observe': BELOW,
    'Metrics#handler': 'the platform hands it requests',
  },
  // Its documented error, which the command line shows as it is.
  mayThrow: (name, error) => name === 'parseTokensFile' && (error as Error).constructor === Error,
});
