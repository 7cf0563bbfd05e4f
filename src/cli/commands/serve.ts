import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { quote } from '../../encoding/quote.js';
import { yieldToEventLoop } from '../../async.js';
import { KeyBackupError, messageOf } from '../../errors.js';
import { discoverHomeserver } from '../../client/discovery.js';
import { createHandler, type Handler } from '../../server/handler.js';
import { createLog, createMetrics, isLogLevel, withHealth, type Log } from '../../server/observability.js';
import {
  identifyByHomeserver,
  identifyByTokens,
  parseTokensFile,
  type IdentifyCaller,
} from '../../server/identify.js';
import { listen } from '../../server/listen.js';
import type { BackupStore } from '../../server/store.js';
import { defineCommand, parseCount, type Values } from '../command.js';
import { InputError, UsageError } from '../errors.js';
import { readText } from '../files.js';
import { expectUrl, findHomeserver } from '../homeserver.js';
import { DATABASE } from '../options.js';
import { openStore } from '../store.js';
import type { Terminal } from '../terminal.js';

const OPTIONS = {
  ...DATABASE,
  homeserver: {
    value: 'WHERE',
    help: `asks this homeserver who a caller is; a revoked token works for up to 60 s more. A URL, a server name or a user
      id`,
  },
  tokens: {
    value: 'FILE',
    help: 'fixed users: [{"sha256": HEX OF THE TOKEN\'S HASH, "user_id": ID, "device_id": ID}]',
  },
  check: { help: 'read the whole SQLite file at the start, and do not start when it is damaged' },
  listen: { value: 'HOST:PORT', help: 'default 127.0.0.1:8009' },
  metrics: { value: 'HOST:PORT', help: 'Prometheus metrics, at a port of their own; default none' },
  'max-body': { value: 'BYTES', help: 'of one request; default 10485760' },
  'max-record': { value: 'BYTES', help: 'of one key, or of the data of a version; default 65536' },
  'rate-limit': {
    value: 'N',
    help: 'requests a second for each user, in bursts of twice as many; default 100, 0 is no limit',
  },
  'max-versions': { value: 'N', help: 'versions that one user may have; default 100' },
  'max-keys': { value: 'N', help: 'keys that the backups of one user may hold; default no limit' },
  'max-bytes': { value: 'N', help: 'bytes that the backups of one user may hold; default no limit' },
  'keep-audit': {
    value: 'DAYS',
    help: 'how long "audit" can tell which device replaced which key; default 90',
  },
  'log-level': {
    value: 'LEVEL',
    help: 'info (a line a request; default), warn, or error',
  },
  dev: {
    help: `a temporary database, a free port and two users; it answers as their homeserver, so that the commands of
      clients can be tried with it`,
  },
  json: { help: 'print how to reach the server as one line of JSON' },
};

export const command = defineCommand({
  name: 'serve',
  summary: 'serve the key backup API',
  usage: ['(--db FILE | --postgres URL) (--homeserver WHERE | --tokens FILE) [options]', '--dev [--json]'],
  description: `
Serves the Matrix key backup API. Let your reverse proxy send /_matrix/client/*/room_keys/* here.
GET /health answers 200 while the database does. SIGTERM and SIGHUP stop it once the requests under way are done.
What it prints to standard error is a line of JSON each, also when it cannot start.
`,
  options: OPTIONS,
  environment: Object.keys(OPTIONS),
  exitCodes: `Exit code 0 when it was stopped, 2 for wrong usage, a missing package, or a database or an address that cannot
    be had.`,
  example: 'megolm-backup serve --db /var/lib/megolm-backup/backup.db --homeserver http://127.0.0.1:8008',
  async run(options, terminal) {
    const { logLevel = 'info' } = options;
    if (!isLogLevel(logLevel)) {
      throw new UsageError(`--log-level: expected info, warn or error, got ${quote(logLevel)}`);
    }
    const write = (lines: string): void => {
      terminal.stderr(lines);
    };
    const log = createLog(write, undefined, logLevel);
    if (options.dev) return serve(options, terminal, log);
    try {
      return await serve(options, logEverything(log, terminal), log);
    } catch (error) {
      // A wrong command line is explained to the person who typed it.
      if (error instanceof UsageError || terminal.signal.aborted) throw error;
      log.error(error);
      // Until the line is written.
      await yieldToEventLoop();
      return 2;
    }
  },
});

async function serve(
  { dev, db, postgres, homeserver, tokens, check, json, ...options }: Values<typeof OPTIONS>,
  terminal: Terminal,
  log: Log,
): Promise<number> {
  collectGarbageEarly();
  const stopping = stopped(terminal.signal);
  if (dev && (db ?? postgres ?? homeserver ?? tokens) !== undefined) {
    throw new UsageError('--dev comes with a database and users of its own');
  }
  if (check && db === undefined) throw new UsageError('--check is for a database of --db');
  const users = dev ? devUsers() : undefined;
  const identify = users?.identify ?? (await configuredAuthentication(homeserver, tokens, terminal));
  const quota = {
    versions: parseCount('--max-versions', options.maxVersions ?? (dev ? undefined : '100')),
    keys: parseCount('--max-keys', options.maxKeys),
    bytes: parseCount('--max-bytes', options.maxBytes),
  };
  const rate = parseCount('--rate-limit', options.rateLimit ?? (dev ? '0' : '100'));
  const maxBody = parseCount('--max-body', options.maxBody);
  const maxRecord = parseCount('--max-record', options.maxRecord);
  const auditDays = parseCount('--keep-audit', options.keepAudit ?? '90');
  const address = hostAndPort('--listen', options.listen ?? (dev ? '127.0.0.1:0' : '127.0.0.1:8009'));
  const metricsAddress =
    options.metrics === undefined ? undefined : hostAndPort('--metrics', options.metrics);

  const directory = dev ? await mkdtemp(join(tmpdir(), 'megolm-backup-')) : undefined;
  // Run from last to first, also after a failure.
  const cleanups: (() => Promise<unknown>)[] = [];
  if (directory !== undefined) cleanups.push(() => rm(directory, { recursive: true, force: true }));
  try {
    const database = directory === undefined ? { db, postgres } : { db: join(directory, 'backup.db') };
    const store = await openStore(database, terminal, {
      sqlite: { check },
      packages: ['hono', '@hono/node-server', ...(metricsAddress ? (['prom-client'] as const) : [])],
    });
    cleanups.push(() => store.close());
    const metrics = metricsAddress ? await createMetrics() : undefined;
    const handler = await createHandler({
      store,
      identify,
      quota,
      ...(rate > 0 && { rateLimit: { perSecond: rate, burst: 2 * rate } }),
      ...(maxBody !== undefined && { maxBody }),
      ...(maxRecord !== undefined && { maxRecord }),
      onRequest: (record) => {
        if (!dev) log.request(record);
        metrics?.observe(record);
      },
      onError: (error) => {
        log.error(error);
      },
    });
    const served = withHealth(dev ? asDevHomeserver(handler, identify) : handler, store);
    const listening = listen(served, { ...address, overrideGlobalObjects: true });
    const server = await orUnlistened('--listen', listening);
    cleanups.push(() => server.stop());
    if (metrics && metricsAddress) {
      const metricsServer = await orUnlistened('--metrics', listen(metrics.handler, metricsAddress));
      cleanups.push(() => metricsServer.stop());
      log.note('metrics', { url: `${metricsServer.url}/metrics` });
    }
    const pruning = prunePeriodically(store, auditDays * 86_400_000, log);
    cleanups.push(() => {
      clearInterval(pruning);
      return Promise.resolve();
    });
    announce(server.url, users, json, terminal);
    if (homeserver !== undefined) cleanups.push(warnIfSilent(homeserver, log));
    await stopping;
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
  return 0;
}

/** Makes a line of the log of all that this process would print to standard error otherwise. */
function logEverything(log: Log, terminal: Terminal): Terminal {
  const stderr = (text: string): void => {
    log.warn(text.trim());
  };
  for (const name of ['log', 'info', 'warn', 'error'] as const) {
    console[name] = (value: unknown) => {
      stderr(messageOf(value) ?? String(value));
    };
  }
  process.removeAllListeners('warning').on('warning', ({ message }) => {
    stderr(message);
  });
  return Object.assign(Object.create(terminal) as Terminal, { stderr });
}

/**
 * Everything a request allocates is garbage once it is answered. By default V8 lets young garbage grow to 48 MiB, and
 * old garbage to a multiple of the live heap. With these flags eight concurrent full downloads take 140 MB after many
 * writes, instead of up to 200, and no more time.
 */
function collectGarbageEarly(): void {
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
    const text = await readText(tokens, { what: 'tokens', maxBytes: 64 << 20 }, terminal);
    return identifyByTokens(parseTokensFile(Buffer.from(text)));
  } catch (cause) {
    if (cause instanceof InputError) throw new InputError(`--tokens: ${cause.message}`, { cause });
    const expected = '[{"sha256": HEX, "user_id": ID, "device_id": ID}]';
    throw new InputError(`--tokens: ${tokens}: expected ${expected}: ${(cause as Error).message}`, { cause });
  }
}

/** A URL is not checked: a homeserver that is not up yet must not keep this server from starting. */
async function homeserverUrl(homeserver: string, terminal: Terminal): Promise<string> {
  if (!/^https?:/i.test(homeserver)) return findHomeserver('--homeserver', homeserver, terminal);
  expectUrl('--homeserver', homeserver);
  return homeserver;
}

/** Asks whether a homeserver is there, and logs if not. Returns what ends the question. */
function warnIfSilent(homeserver: string, log: Log): () => Promise<void> {
  const ending = new AbortController();
  const { signal } = ending;
  const asking = discoverHomeserver(homeserver, { retries: 0, signal }).catch((error: unknown) => {
    if (signal.aborted) return;
    const why = messageOf(error) ?? 'no answer';
    log.warn(`--homeserver: no homeserver answers, so requests get 503 until one does: ${why}`);
  });
  return async () => {
    ending.abort();
    await asking;
  };
}

/** The operating system may refuse the address. */
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
      'It runs on a temporary database, which is deleted when it stops.',
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

function stopped(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    const stop = (): void => {
      resolve();
    };
    signal.addEventListener('abort', stop, { once: true });
    for (const name of ['SIGTERM', 'SIGHUP'] as const) process.once(name, stop);
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

/**
 * Answers for `serve --dev` what clients ask of a homeserver before they come to the backup: whether it is one, whose an
 * access token is, and account data, which is always empty. In production a proxy sends all of that to the homeserver.
 */
function asDevHomeserver(handler: Handler, identify: IdentifyCaller): Handler {
  return async (request, env) => {
    const { pathname } = new URL(request.url);
    if (request.method !== 'GET') return handler(request, env);
    if (pathname === '/_matrix/client/versions') return json({ versions: ['v1.11'] });
    if (pathname === '/_matrix/client/v3/account/whoami') {
      try {
        const { user_id, device_id } = await identify(request);
        return json({ user_id, device_id });
      } catch {
        return json({ errcode: 'M_UNKNOWN_TOKEN', error: 'Unrecognised access token' }, 401);
      }
    }
    if (/^\/_matrix\/client\/v3\/user\/[^/]+\/account_data\/[^/]+$/.test(pathname)) {
      return json({ errcode: 'M_NOT_FOUND', error: 'Account data not found' }, 404);
    }
    return handler(request, env);
  };
}

function json(body: unknown, status = 200): Response {
  return Response.json(body, { status, headers: { 'access-control-allow-origin': '*' } });
}
