/**
 * The server: the key backup API as a function from `Request` to `Response`.
 *
 * @packageDocumentation
 */

export { createApp, createHandler } from './handler.js';
export type { Handler, HandlerOptions, RequestRecord } from './handler.js';
export { authenticateByHomeserver, authenticateByTokens, parseTokensFile } from './identify.js';
export type { Authenticate, Caller, HomeserverOptions, StaticToken } from './identify.js';
export { MatrixError } from './http.js';
export type { ErrorBody } from '../wire/types.js';
export { withHealth } from './health.js';
export { createLog } from './log.js';
export type { Log } from './log.js';
export { createMetrics } from './metrics.js';
export type { Metrics } from './metrics.js';
export type { RateLimit } from './rate-limit.js';
export { newVersionId } from './store.js';
export type * from './store.js';
