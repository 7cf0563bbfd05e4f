import { InputError, systemError, UsageError } from '../errors.js';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { KeyBackupError } from '../../errors.js';
import { identifyByHomeserver, identifyByTokens, parseTokensFile } from '../../server/identify.js';
import type { IdentifyCaller } from '../../server/identify.js';
import { createHandler } from '../../server/handler.js';
import { createLog, createMetrics, withHealth, type Log } from '../../server/observability.js';
import { listen } from '../../server/listen.js';
import type { RateLimit } from '../../server/rate-limit.js';
import type { BackupStore, Quota } from '../../server/store.js';
import { parseCommand, parseCount } from '../command.js';
import { asDevHomeserver } from '../dev-homeserver.js';
import { expectUrl, findHomeserver } from '../homeserver.js';
import { STORE_OPTIONS, openStore } from '../open-store.js';
import type { Terminal } from '../terminal.js';
import { quote } from '../../encoding/quote.js';

export const usage = `usage: megolm-backup serve (--db FILE | --postgres URL) (--homeserver WHERE | --tokens FILE) [options]
       megolm-backup serve --dev [--json]

Serves the Matrix key backup API. A reverse proxy sends /_matrix/client/*/room_keys/* here.

  --db FILE             the backups in one SQLite file, made where there is none
  --postgres URL        the backups in PostgreSQL; the password comes from PGPASSWORD or a .pgpass file
  --homeserver WHERE    asks this homeserver who a caller is; a revoked token works for up to 60 s more. A URL, a
                        server name or a user id
  --tokens FILE         fixed users: [{"sha256": HEX OF THE TOKEN'S HASH, "user_id": ID, "device_id": ID}]
  --listen HOST:PORT    default 127.0.0.1:8009
  --metrics HOST:PORT   Prometheus metrics, at a port of their own; default none
  --max-body BYTES      of one request; default 52428800
  --rate-limit N        requests a second for each user, in bursts of twice as many; default 100, 0 is none
  --max-versions N, --max-keys N, --max-bytes N
                        what the backups of one user may hold; default 100 versions and no other limit
  --keep-audit DAYS     how long it is known which device replaced which key; default 90
  --dev                 a temporary database, a free port and two users; it answers as their homeserver, so that the
                        commands of clients can be tried with it
  --json                print how to reach the server as one line of JSON

GET /health answers 200 while the database does. SIGTERM stops it once the requests under way are done.
Exit code 0 when it was stopped, 2 for wrong usage, or a database or an address that cannot be had.

example:
  megolm-backup serve --db /var/lib/megolm-backup/backup.db --homeserver http://127.0.0.1:8008
`;

/** `megolm-backup serve` */
export async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const { values } = parseCommand(
    args,
    {
      ...STORE_OPTIONS,
      homeserver: { type: 'string' },
      tokens: { type: 'string' },
      listen: { type: 'string' },
      metrics: { type: 'string' },
      'max-body': { type: 'string' },
      'rate-limit': { type: 'string' },
      'max-versions': { type: 'string' },
      'max-keys': { type: 'string' },
      'max-bytes': { type: 'string' },
      'keep-audit': { type: 'string' },
      dev: { type: 'boolean' },
      json: { type: 'boolean' },
    },
    [],
  );
  keepGarbageSmall();
  const dev = values.dev === true;
  if (dev && (values.db ?? values.postgres ?? values.homeserver ?? values.tokens) !== undefined) {
    throw new UsageError('--dev comes with a database and users of its own');
  }
  const users = dev ? devUsers() : undefined;
  const identify =
    users?.identify ?? (await configuredAuthentication(values.homeserver, values.tokens, terminal));
  const quota: Quota = {
    versions: parseCount('--max-versions', values['max-versions'] ?? (dev ? undefined : '100')),
    keys: parseCount('--max-keys', values['max-keys']),
    bytes: parseCount('--max-bytes', values['max-bytes']),
  };
  const rate = parseCount('--rate-limit', values['rate-limit'] ?? (dev ? '0' : '100')) ?? 0;
  const maxBody = parseCount('--max-body', values['max-body']);
  const auditDays = parseCount('--keep-audit', values['keep-audit'] ?? '90') ?? 90;
  const address = hostAndPort('--listen', values.listen ?? (dev ? '127.0.0.1:0' : '127.0.0.1:8009'));
  const metricsAddress = values.metrics === undefined ? undefined : hostAndPort('--metrics', values.metrics);

  const directory = dev ? await mkdtemp(join(tmpdir(), 'megolm-backup-')) : undefined;
  // From last to first, whatever happens.
  const cleanups: (() => Promise<unknown>)[] = [];
  if (directory !== undefined) cleanups.push(() => rm(directory, { recursive: true, force: true }));
  try {
    const store = await openStore(
      directory === undefined ? values : { db: join(directory, 'backup.db') },
      terminal,
    );
    cleanups.push(() => store.close());
    const log = createLog((lines) => {
      terminal.stderr(lines);
    });
    const metrics = metricsAddress ? await createMetrics() : undefined;
    const rateLimit: RateLimit | undefined = rate > 0 ? { perSecond: rate, burst: 2 * rate } : undefined;
    const handler = await createHandler({
      store,
      identify,
      quota,
      ...(rateLimit ? { rateLimit } : {}),
      ...(maxBody === undefined ? {} : { maxBody }),
      onRequest: (record) => {
        if (!dev) log.request(record);
        metrics?.observe(record);
      },
      onError: (error) => {
        log.error(error);
      },
    });
    const served = withHealth(dev ? asDevHomeserver(handler, identify) : handler, store);
    const server = await orUnlistened(
      '--listen',
      listen(served, { ...address, overrideGlobalObjects: true }),
    );
    cleanups.push(() => server.stop());
    if (metrics && metricsAddress) {
      const listening = await orUnlistened('--metrics', listen(metrics.handler, metricsAddress));
      cleanups.push(() => listening.stop());
      log.note('metrics', { url: `${listening.url}/metrics` });
    }
    const pruning = prunePeriodically(store, auditDays * 86_400_000, log);
    cleanups.push(() => {
      clearInterval(pruning);
      return Promise.resolve();
    });
    announce(server.url, users, values.json === true, terminal);
    await stopAsked(terminal.signal);
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
  return 0;
}

/**
 * What a request leaves behind is garbage with its answer, and V8 waits before it looks for it: young garbage may grow
 * to three times 16 MiB, and the old, where bodies of requests get that took a while, to a multiple of what is in use.
 * Kept small, eight readers of everything take 140 MB after many writes, instead of up to 200, and no more time.
 */
function keepGarbageSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  setFlagsFromString('--heap-growing-percent=30');
}

interface DevUsers {
  readonly identify: IdentifyCaller;
  readonly users: readonly { readonly user_id: string; readonly access_token: string }[];
}

function devUsers(): DevUsers {
  const users = ['@alice:localhost', '@bob:localhost'].map((user_id) => ({
    user_id,
    access_token: `dev_${randomBytes(24).toString('base64url')}`,
  }));
  const tokens = users.map(({ user_id, access_token }) => ({
    sha256: createHash('sha256').update(access_token).digest('hex'),
    user_id,
    device_id: 'DEV',
  }));
  return { users, identify: identifyByTokens(tokens) };
}

async function configuredAuthentication(
  homeserver: string | undefined,
  tokens: string | undefined,
  terminal: Terminal,
): Promise<IdentifyCaller> {
  if (homeserver !== undefined && tokens === undefined) {
    return identifyByHomeserver(await homeserverUrl(homeserver, terminal));
  }
  if (homeserver !== undefined || tokens === undefined) {
    throw new UsageError('give either --homeserver WHERE or --tokens FILE');
  }
  try {
    return identifyByTokens(parseTokensFile(await readFile(tokens)));
  } catch (cause) {
    const { errno, message } = cause as NodeJS.ErrnoException;
    throw new InputError(
      errno === undefined
        ? `--tokens: ${tokens}: expected [{"sha256": HEX, "user_id": ID, "device_id": ID}]: ${message}`
        : `--tokens: cannot read ${tokens} (${systemError(cause)})`,
      { cause },
    );
  }
}

/** A URL is taken as it is: a homeserver that is not up yet must not keep this server from starting. */
async function homeserverUrl(homeserver: string, terminal: Terminal): Promise<string> {
  if (!/^https?:/i.test(homeserver)) return findHomeserver('--homeserver', homeserver, terminal);
  expectUrl('--homeserver', homeserver);
  return homeserver;
}

/** The operating system may not give the address. */
async function orUnlistened<T>(option: string, listening: Promise<T>): Promise<T> {
  try {
    return await listening;
  } catch (cause) {
    if (cause instanceof KeyBackupError) throw cause;
    throw new InputError(`${option}: ${(cause as Error).message}`, { cause });
  }
}

function announce(url: string, dev: DevUsers | undefined, json: boolean, terminal: Terminal): void {
  if (json) {
    terminal.stdout(`${JSON.stringify(dev ? { url, users: dev.users } : { url })}\n`);
    return;
  }
  const lines = [`The key backup API is at ${url}/_matrix/client/v3/room_keys/`];
  if (dev) {
    for (const { user_id, access_token } of dev.users) lines.push(`${user_id}  access token ${access_token}`);
    lines.push(
      'Try it:',
      `  MATRIX_ACCESS_TOKEN=${dev.users[0].access_token} megolm-backup versions --homeserver ${url}`,
      'It runs on a temporary database, which goes when it stops.',
    );
  } else {
    lines.push('Let your reverse proxy send /_matrix/client/*/room_keys/* there, the path unchanged.');
  }
  terminal.stdout(`${lines.join('\n')}\n`);
}

function prunePeriodically(store: BackupStore, keep: number, log: Log): NodeJS.Timeout {
  const prune = (): void => {
    store.pruneReplacements(Date.now() - keep).catch((error: unknown) => {
      log.error(error);
    });
  };
  prune();
  return setInterval(prune, 3_600_000).unref();
}

function stopAsked(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    const stop = (): void => {
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
    process.once('SIGTERM', stop);
  });
}

function hostAndPort(option: string, value: string): { host: string; port: number } {
  const match = /^(?:(\[[0-9a-fA-F:.]+\]|[^:[\]]+):)?([0-9]{1,5})$/.exec(value);
  if (!match || Number(match[2]) > 65_535) {
    throw new UsageError(`${option}: expected HOST:PORT, got ${quote(value)}`);
  }
  return {
    host: ((match[1] as string | undefined) ?? '127.0.0.1').replace(/[[\]]/g, ''),
    port: Number(match[2]),
  };
}
