import { afterEach, describe, expect, it, vi } from 'vitest';
import { onlyTo } from '../../page/src/only-to.js';

const init = { method: 'GET', headers: { authorization: 'Bearer SECRET' } } as never;

afterEach(() => {
  vi.unstubAllGlobals();
});

function stubFetch() {
  const fetch = vi.fn(() => Promise.resolve(new Response('{}')));
  vi.stubGlobal('fetch', fetch);
  return fetch;
}

describe('a fetch to one server only', () => {
  it.each([
    'https://other.example/',
    'https://a.example.other.example/',
    'https://a.example:8448/',
    'http://a.example/',
    'https://a.example@other.example/',
    'blob:https://other.example/x',
    'data:text/plain,',
    'not a URL',
  ])('does not ask %s', async (url) => {
    const fetch = stubFetch();
    await expect(onlyTo('https://a.example/base')(url, init)).rejects.toThrow(TypeError);
    expect(fetch).not.toHaveBeenCalled();
  });

  it.each([
    'https://a.example/',
    'https://a.example/_matrix?x',
    'https://a.example:443/',
    'https://A.EXAMPLE/',
  ])('asks %s', async (url) => {
    const fetch = stubFetch();
    await onlyTo('https://a.example/base')(url, init);
    expect(fetch).toHaveBeenCalledExactlyOnceWith(url, init);
  });
});
