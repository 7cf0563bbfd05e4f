import { query, type Connections } from './pool.js';

/** Deletes the keys of deleted versions. */
export interface Purge {
  /** Begins, or goes on, in the background; what fails is tried again later. */
  start(): void;
  /** Ends after the statement that runs. */
  stop(): Promise<void>;
}

/** Keys deleted in one transaction. */
const SLICE = 2_000;
const PAUSE_AFTER_FAILURE = 60_000;

/** Makes the purge of a database. Other processes may purge the same one. */
export function createPurge(connections: Connections): Purge {
  let running: Promise<unknown> = Promise.resolve();
  let isStopped = false;
  let retry: NodeJS.Timeout | undefined;

  const run = async (): Promise<void> => {
    while (!isStopped) {
      const [version] = await query(
        connections,
        `SELECT user_id, version FROM versions WHERE deleted AND NOT purged ORDER BY user_id, number LIMIT 1`,
        [],
      );
      if (!(version as unknown)) return;
      await purgeVersion(connections, version.user_id as string, version.version as string, () => isStopped);
    }
  };
  const start = (): void => {
    // After the run that is under way, whose last look may have come too early.
    running = running.then(run).catch(() => {
      clearTimeout(retry);
      retry = setTimeout(start, PAUSE_AFTER_FAILURE).unref();
    });
  };
  return {
    start,
    stop: async () => {
      isStopped = true;
      await running;
      clearTimeout(retry);
    },
  };
}

/** Deletes the keys of one deleted version, a slice in each transaction. */
export async function purgeVersion(
  connections: Connections,
  userId: string,
  version: string,
  isStopped: () => boolean = () => false,
): Promise<void> {
  const values = [userId, version];
  for (;;) {
    if (isStopped()) return;
    // Counts what it finds: another process may delete the same keys.
    const [{ found }] = await query(connections, DELETE_SLICE, values);
    if (found === '0') break;
  }
  await query(connections, `UPDATE versions SET purged = true WHERE user_id = $1 AND version = $2`, values);
}

// By the version's id, and only while it is deleted: once a user is erased, the number belongs to the next version.
const DELETE_SLICE = `
  WITH found AS MATERIALIZED (
    SELECT ctid FROM keys
    WHERE user_id = $1
      AND number = (SELECT number FROM versions WHERE user_id = $1 AND version = $2 AND deleted)
    ORDER BY room_id, session_id LIMIT ${SLICE}
  ), gone AS (
    DELETE FROM keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM found))
  )
  SELECT count(*) AS found FROM found`;
