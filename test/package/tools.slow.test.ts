import { expect, test } from 'vitest';
import { ROOT, run } from './project.js';

test('publint and Are the Types Wrong find nothing in the packed build', async () => {
  const told = await run(process.execPath, [`${ROOT}scripts/check-package.mjs`]);
  expect(told).toContain('All good!');
  expect(told).toContain('attw: nothing found');
});
