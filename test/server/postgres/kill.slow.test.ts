import { onTestFinished, test } from 'vitest';
import { killLoop } from '../../contracts/kill.js';
import { startPostgres } from '../../support/postgres.js';

const kills = Number(process.env.KILLS ?? 15);

test(`${kills} kills under load lose nothing that was acknowledged`, async () => {
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  await killLoop(kills, ['--postgres', await server.createDatabase()]);
}, 600_000);
