import { openPostgresStore } from '../../../src/server/postgres/index.js';
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
