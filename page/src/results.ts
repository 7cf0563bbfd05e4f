import type { Authenticity } from '../../src/scheme/backup-mac.js';
import { chart } from './chart.js';
import type { Answer } from './messages.js';

type Done = Extract<Answer, { kind: 'done' }>;

/** More rows say nothing more and make the page slow. The report has everything. */
const MAX_ROWS = 200;

/** The verdicts on where a key comes from, in words, the best first. */
const PROOFS: readonly (readonly [Authenticity, string])[] = [
  ['verified', 'verified: a holder of the key of this backup vouches for it'],
  ['declared-unauthenticated', 'declared: its writer says that it does not vouch for it'],
  ['no-mac', 'no MAC: anyone who knows the public key of this backup could have added it'],
  ['wrong-mac', 'wrong MAC: it was changed, or written by somebody without the key'],
];

/** Shows how it ended: numbers, a chart, three tables, two downloads. */
export function showResults(done: Done): void {
  const { total, ok, failed, flagged, authenticity, seconds, opened } = done;
  const rate = Math.round(total / Math.max(seconds, 0.001));
  const notes = flagged > 0 ? `, ${flagged} of them flagged` : '';
  byId('summary').textContent =
    `${ok} of ${total} keys${notes}; ${failed} not read. Opened with ${opened}. ` +
    (done.fits ? '' : 'That key does not fit this backup: not one of its keys was encrypted to it. ') +
    `${seconds.toFixed(1)} seconds, ${rate} keys a second.`;
  warn(authenticity['wrong-mac']);
  offerSalvage(done.salvageable);
  offer('export', done.exported);
  offer('report', done.report);
  const reasons: (readonly [string, number])[] = [['read', ok], ...done.codes];
  byId('chart').replaceChildren(chart(reasons, total));
  fill(
    'reasons',
    reasons.map(([reason, count]) => [reason, String(count)]),
  );
  fill(
    'authenticity',
    PROOFS.map(([verdict, words]) => [words, String(authenticity[verdict])]),
  );
  const rooms = [...done.rooms].sort((a, b) => b.failed - a.failed || b.ok - a.ok);
  const rows = rooms.slice(0, MAX_ROWS).map((room) => [room.room_id, String(room.ok), String(room.failed)]);
  if (rooms.length > MAX_ROWS) rows.push([`and ${rooms.length - MAX_ROWS} more rooms`, '', '']);
  fill('rooms', rows);
  byId('results').hidden = false;
  byId('results-title').focus();
}

/** The element with this id, which the page has. */
export function byId(id: string): HTMLElement {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no ${id}`);
  return element;
}

function warn(wrong: number): void {
  byId('warning').hidden = wrong === 0;
  byId('warning').textContent =
    wrong === 0
      ? ''
      : `Warning: ${wrong} of the keys in the export carry a wrong MAC: they were changed, or written by somebody ` +
        'without the key. The report names them; rescue again with “Only keys that prove where they come from” ' +
        'to leave them out.';
}

function offerSalvage(left: Done['salvageable']): void {
  const count = left.reduce((sum, [, keys]) => sum + keys, 0);
  byId('salvageable').hidden = count === 0;
  byId('salvageable').textContent =
    count === 0
      ? ''
      : `${count} of the keys that were not read may come out if you rescue again with “Also keep damaged keys”: ` +
        `${left.map(([code, keys]) => `${keys} ${code}`).join(', ')}.`;
}

function offer(id: string, blob: Blob | undefined): void {
  const link = byId(id) as HTMLAnchorElement;
  if (link.href !== '') URL.revokeObjectURL(link.href);
  link.hidden = blob === undefined;
  if (blob) link.href = URL.createObjectURL(blob);
  else link.removeAttribute('href');
}

function fill(id: string, rows: readonly (readonly string[])[]): void {
  const body = byId(id).querySelector('tbody');
  body?.replaceChildren(
    ...rows.map((cells) => {
      const row = document.createElement('tr');
      for (const text of cells) row.insertCell().textContent = text;
      return row;
    }),
  );
}
