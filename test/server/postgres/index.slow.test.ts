import { onTestFinished, test } from 'vitest';
import { openPostgresStore } from '../../../src/server/postgres/index.js';
import { killLoop } from '../../contracts/kill.js';
import { storeContract } from '../../contracts/store.js';
import { startPostgres } from '../../support/postgres.js';

storeContract('PostgreSQL', async () => {
  const server = await startPostgres();
  const url = await server.createDatabase();
  const [store, second] = await Promise.all([openPostgresStore(url), openPostgresStore(url)]);
  return {
    store,
    second,
    stop: async () => {
      await store.close();
      await second.close();
      await server.stop();
    },
  };
});

const kills = Number(process.env.KILLS ?? 15);

test(`${kills} kills under load lose nothing that was acknowledged`, async () => {
  const server = await startPostgres();
  onTestFinished(() => server.stop());
  await killLoop(kills, ['--postgres', await server.createDatabase()]);
}, 600_000);
