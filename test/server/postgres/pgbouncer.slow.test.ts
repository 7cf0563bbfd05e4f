import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { openPostgresStore } from '../../../src/server/postgres/index.js';
import { storeContract } from '../../contracts/store.js';
import { fences } from '../../support/markdown.js';
import { pgbouncerVersion, startPgbouncer } from '../../support/pgbouncer.js';
import { startPostgres } from '../../support/postgres.js';

/** The snippets of docs/running-the-server.md. */
const snippets = fences(
  readFileSync(fileURLToPath(new URL('../../../docs/running-the-server.md', import.meta.url)), 'utf8'),
).map(({ text }) => text);
const ini = snippets.find((text) => text.startsWith('[pgbouncer]'))!;
const role = snippets.find((text) => text.startsWith('ALTER ROLE backup'))!;

const version = pgbouncerVersion();

storeContract(`PostgreSQL through ${version ?? 'PgBouncer'}, pooling transactions`, async () => {
  if (version === undefined) return undefined;
  const server = await startPostgres();
  if (!server.process) {
    // PGlite, which has said so.
    await server.stop();
    return undefined;
  }
  const direct = await server.createDatabase();
  const admin = new pg.Client(direct);
  await admin.connect();
  await admin.query(role.replaceAll('ROLE backup', 'ROLE test'));
  await admin.end();
  const bouncer = await startPgbouncer(direct, ini);
  const [store, second] = await Promise.all([openPostgresStore(bouncer.url), openPostgresStore(bouncer.url)]);
  return {
    store,
    second,
    stop: async () => {
      await store.close();
      await second.close();
      await bouncer.stop();
      await server.stop();
    },
  };
});
