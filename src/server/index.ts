/**
 * The server: the key backup API as a function from `Request` to `Response`.
 *
 * @packageDocumentation
 */

export { createApp, createHandler } from './handler.js';
export type { Handler, HandlerOptions, RequestRecord } from './handler.js';
export { identifyByHomeserver, identifyByTokens, parseTokensFile } from './identify.js';
export type { IdentifyCaller, Caller, HomeserverOptions, StaticToken } from './identify.js';
export { MatrixError } from './matrix-error.js';
export type { ErrorBody } from '../wire/types.js';
export { createLog, createMetrics, withHealth } from './observability.js';
export type { Log, LogLevel, Metrics } from './observability.js';
export type { InFlightLimits } from './in-flight.js';
export type { RateLimit } from './rate-limit.js';
export { newVersionId } from './store.js';
export type * from './store.js';
