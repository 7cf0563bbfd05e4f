import type { Fetch } from '../../src/client/fetch-attempt.js';

/**
 * A fetch that contacts one server only. The client asks no other and follows no redirection; should it ever, the
 * token still goes nowhere.
 */
export function onlyTo(baseUrl: string): Fetch {
  const { origin } = new URL(baseUrl);
  return async (url, init) => {
    if (new URL(url).origin !== origin)
      throw new TypeError(`refused to contact another server than ${origin}`);
    return fetch(url, init);
  };
}
