import { expect, test } from 'vitest';
import { SecretBytes } from '../../src/encoding/secret-bytes.js';

test('secret bytes are overwritten, and then never given out', () => {
  const bytes = Uint8Array.of(1, 2, 3);
  const secret = new SecretBytes(bytes, 'some key');
  expect(secret.value).toBe(bytes);
  expect(bytes).toEqual(Uint8Array.of(1, 2, 3));
  secret.dispose();
  expect(bytes).toEqual(new Uint8Array(3));
  expect(() => secret.value).toThrow(
    expect.objectContaining({
      code: 'bad-parameters',
      message: 'some key: expected a usable key, got one already disposed',
    }) as Error,
  );
  secret.dispose();
});
