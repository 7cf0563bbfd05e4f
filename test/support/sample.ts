import { readFileSync } from 'node:fs';
import type { ExportedSessionData } from '../../src/index.js';

const sessions = JSON.parse(
  readFileSync(new URL('../../vectors/sample-export.json', import.meta.url), 'utf8'),
) as ExportedSessionData[];

/** Some real sessions that came straight from their sender. */
export function directSessions(count: number): ExportedSessionData[] {
  return sessions.filter(({ forwarding_curve25519_key_chain: chain }) => chain.length === 0).slice(0, count);
}

/** Some real sessions that somebody forwarded. */
export function forwardedSessions(count: number): ExportedSessionData[] {
  return sessions.filter(({ forwarding_curve25519_key_chain: chain }) => chain.length > 0).slice(0, count);
}
