import { limitExceeded } from './http.js';

/** Bytes of bodies and responses that may be in memory at once. */
export interface InFlightLimits {
  /** Of one user. */
  readonly perUser: number;
  /** Of all users. */
  readonly total: number;
}

/** What one request has in memory. */
export interface Holding {
  /**
   * Says how much it is now.
   *
   * @throws MatrixError 429 `M_LIMIT_EXCEEDED` beyond the user's share, 503 `M_LIMIT_EXCEEDED` beyond the total,
   * each with `Retry-After`. A request that is alone is never refused, or what is larger than a limit could not be had.
   */
  readonly resize: (bytes: number) => void;
  /** Nothing any more. */
  readonly release: () => void;
}

/** Makes a function that counts what a request of a user has in memory. */
export function createInFlight({ perUser, total }: InFlightLimits): (userId: string) => Holding {
  const held = new Map<string, number>();
  let all = 0;
  return (userId) => {
    let own = 0;
    const resize = (bytes: number): void => {
      const others = (held.get(userId) ?? 0) - own;
      if (bytes > own) {
        if (others > 0 && others + bytes > perUser) throw limitExceeded(429, 1_000);
        if (all > own && all - own + bytes > total) throw limitExceeded(503, 1_000);
      }
      all += bytes - own;
      own = bytes;
      if (others + own === 0) held.delete(userId);
      else held.set(userId, others + own);
    };
    return {
      resize,
      release: () => {
        resize(0);
      },
    };
  };
}
