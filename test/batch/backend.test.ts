import { expect, it } from 'vitest';
import { pureBackend } from '../../src/batch/backend.js';

it('of pure JavaScript has a name for messages, and takes nothing over from the engine', () => {
  expect(pureBackend).toEqual({ name: 'pure JavaScript' });
  expect(Object.isFrozen(pureBackend)).toBe(true);
});
