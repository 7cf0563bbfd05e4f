import { MatrixError } from './http.js';

/** How often one user may call. */
export interface RateLimit {
  /** Requests a second, on average. */
  readonly perSecond: number;
  /** Requests at once after a pause. */
  readonly burst: number;
}

/** Users remembered before those with full buckets are forgotten. */
const REMEMBERED = 10_000;

/**
 * Makes a function that counts a request of a user.
 *
 * Each user has a bucket that fills with time. It is kept in this process: several servers on one database
 * each allow the whole rate.
 *
 * @returns A function that throws {@link MatrixError} 429 `M_LIMIT_EXCEEDED` with the time to wait, both as
 * `Retry-After` and as the deprecated `retry_after_ms`.
 */
export function createRateLimit(limit: RateLimit, now: () => number = Date.now): (userId: string) => void {
  const buckets = new Map<string, { tokens: number; time: number }>();
  const filled = (bucket: { tokens: number; time: number }, time: number): number =>
    Math.min(limit.burst, bucket.tokens + (Math.max(0, time - bucket.time) / 1000) * limit.perSecond);

  return (userId) => {
    const time = now();
    const bucket = buckets.get(userId) ?? { tokens: limit.burst, time };
    const tokens = filled(bucket, time);
    if (tokens < 1) {
      const wait = Math.ceil(((1 - tokens) / limit.perSecond) * 1000);
      throw new MatrixError(429, 'M_LIMIT_EXCEEDED', 'Too many requests', {
        fields: { retry_after_ms: wait },
        headers: { 'retry-after': String(Math.ceil(wait / 1000)) },
      });
    }
    if (buckets.size >= REMEMBERED && !buckets.has(userId)) {
      for (const [user, other] of buckets) if (filled(other, time) >= limit.burst) buckets.delete(user);
    }
    buckets.set(userId, { tokens: tokens - 1, time });
  };
}
