import { spawn, spawnSync } from 'node:child_process';
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { openPostgresStore } from '../../../src/server/postgres/index.js';
import { storeContract } from '../../contracts/store.js';
import { fences } from '../../support/markdown.js';
import { freePort } from '../../support/network.js';
import { startPostgres, systemUser } from '../../support/postgres.js';

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

/** A PgBouncer in front of a PostgreSQL server. */
interface PgBouncer {
  readonly url: string;
  stop(): Promise<void>;
}

/** What the PgBouncer of this machine says its version is; undefined, with a line printed, when there is none. */
function pgbouncerVersion(): string | undefined {
  const { status, stdout } = spawnSync('pgbouncer', ['--version'], { encoding: 'utf8' });
  if (status === 0) return stdout.split('\n')[0];
  if (process.env.CI === 'true') throw new Error('no pgbouncer found');
  console.warn('No pgbouncer: the tests of the PostgreSQL store did not run through it.');
  return undefined;
}

/** Puts a PgBouncer before a database, set up as docs/running-the-server.md says, with few connections to share. */
async function startPgbouncer(database: string, snippet: string): Promise<PgBouncer> {
  const { hostname, port: target, pathname } = new URL(database);
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'pgbouncer-'));
  const user = systemUser();
  if ('uid' in user) chownSync(folder, user.uid, user.gid);
  writeFileSync(join(folder, 'users.txt'), '"test" ""\n');
  writeFileSync(
    join(folder, 'pgbouncer.ini'),
    `[databases]
* = host=${hostname} port=${target}
${snippet}
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${folder}/users.txt
pool_mode = transaction
default_pool_size = 3
`,
  );
  const child = spawn('pgbouncer', [join(folder, 'pgbouncer.ini')], {
    stdio: 'ignore',
    cwd: folder,
    ...user,
  });
  const exited = new Promise<void>((resolve) => {
    child.once('exit', () => {
      resolve();
    });
  });
  const url = `postgres://test@127.0.0.1:${port}${pathname}`;
  for (let tries = 0; ; tries++) {
    const client = new pg.Client(url);
    try {
      await client.connect();
      await client.end();
      break;
    } catch (error) {
      if (tries > 100 || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    url,
    stop: async () => {
      child.kill('SIGKILL');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
