import { expect, test } from 'vitest';
import { importPeer } from '../../src/server/errors.js';

test('a package that is not installed is missing-dependency, with the line that installs it', async () => {
  const name = 'no-such-package-is-installed';
  await expect(importPeer(() => import(name), 'some@1')).rejects.toMatchObject({
    code: 'missing-dependency',
    message: expect.stringContaining('npm install some@1'),
  });
  const broken = new Error('it throws while it loads');
  await expect(importPeer(() => Promise.reject(broken), 'some@1')).rejects.toBe(broken);
});
