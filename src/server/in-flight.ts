import type { Holding } from './http.js';
import { limitExceeded } from './matrix-error.js';

/** Bytes of bodies and responses that may be in memory at once. */
export interface InFlightLimits {
  /** Of one user. */
  readonly perUser: number;
  /** Of all users. */
  readonly total: number;
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
