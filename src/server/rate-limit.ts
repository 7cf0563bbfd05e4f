import { now } from '../async.js';
import { limitExceeded } from './matrix-error.js';

/** How often one user may call. */
export interface RateLimit {
  /** Requests a second, on average. */
  readonly perSecond: number;
  /** Requests at once after a pause. */
  readonly burst: number;
}

/** Users remembered at most. */
const REMEMBERED = 10_000;

/**
 * Makes a function that counts a request of a user.
 *
 * Each user has a bucket that fills with time. It is kept in this process: several servers on one database
 * each allow the whole rate.
 *
 * @param clock - Milliseconds that never go back.
 * @returns A function that throws {@link MatrixError} 429 `M_LIMIT_EXCEEDED` with the time to wait, both as
 * `Retry-After` and as the deprecated `retry_after_ms`.
 */
export function createRateLimit(limit: RateLimit, clock: () => number = now): (userId: string) => void {
  // In the order of the last request.
  const buckets = new Map<string, { tokens: number; time: number }>();

  return (userId) => {
    const time = clock();
    const bucket = buckets.get(userId) ?? { tokens: limit.burst, time };
    const tokens = Math.min(limit.burst, bucket.tokens + ((time - bucket.time) / 1000) * limit.perSecond);
    if (tokens < 1) throw limitExceeded(429, ((1 - tokens) / limit.perSecond) * 1000);
    buckets.delete(userId);
    buckets.set(userId, { tokens: tokens - 1, time });
    if (buckets.size > REMEMBERED) forgetOldest(buckets);
  };
}

/** Removes the entry of a map that was put in first. */
export function forgetOldest(map: Map<string, unknown>): void {
  for (const [key] of map) {
    map.delete(key);
    return;
  }
}
