import type { Authenticity } from '../../src/scheme/backup-mac.js';
import { chart } from './chart.js';
import { count } from './count.js';
import { byId, show } from './dom.js';
import type { Answer } from './messages.js';

type Done = Extract<Answer, { kind: 'done' }>;

/** More rows would make the page slow. The report has everything. */
const MAX_ROWS = 200;

/** The verdicts on where a key comes from, in words, the best first. */
const PROOFS: readonly (readonly [Authenticity, string])[] = [
  ['verified', 'verified: a holder of the key of this backup vouches for it'],
  ['declared-unauthenticated', 'declared: its writer says that it does not vouch for it'],
  ['no-mac', 'no MAC: anyone who knows the public key of this backup could have added it'],
  ['wrong-mac', 'wrong MAC: it was changed, or written by somebody without the key'],
];

/** The choices for experts that leave keys out. */
const CHOICES = {
  authenticated: 'Only keys that prove where they come from',
  strict: 'Only keys that every app can import',
} as const;

/** Shows how it ended: first the result and the download, then what to do with it, folded the numbers. */
export function showResults(done: Done): void {
  const { total, ok, failed, flagged, authenticity, seconds } = done;
  const rate = Math.round(total / Math.max(seconds, 0.001));
  const notes = flagged > 0 ? `, ${flagged} of them flagged` : '';
  byId('results-title').textContent = titleOf(done);
  byId('summary').textContent =
    `${ok} of ${total} keys${notes}; ${failed} not read. ` +
    `${seconds.toFixed(1)} seconds, ${rate} keys a second.`;
  byId('opened').textContent = done.opened;
  tellCause(done);
  warn(authenticity['wrong-mac']);
  offerSalvage(done.salvageable);
  offer('export', done.exported);
  offer('report', done.report);
  const numbers = byId('numbers') as HTMLDetailsElement;
  numbers.open = false;
  for (const part of numbers.querySelectorAll('#chart, tbody')) part.replaceChildren();
  // Filling them takes longer than a frame may.
  numbers.ontoggle = () => {
    if (numbers.open) showNumbers(done);
  };
  byId('rest').hidden = done.kept === undefined;
  byId('import').hidden = done.exported === undefined || ok === 0;
  show('results', byId('results-title'));
}

function showNumbers({ total, ok, codes, authenticity, rooms: counts }: Done): void {
  const reasons: (readonly [string, number])[] = [['read', ok], ...codes];
  byId('chart').replaceChildren(chart(reasons, total));
  fill(
    'reasons',
    reasons.map(([reason, count]) => [reason, String(count)]),
  );
  fill(
    'authenticity',
    PROOFS.map(([verdict, words]) => [words, String(authenticity[verdict])]),
  );
  const rooms = [...counts].sort((a, b) => b.failed - a.failed || b.ok - a.ok);
  const rows = rooms.slice(0, MAX_ROWS).map((room) => [room.room_id, String(room.ok), String(room.failed)]);
  if (rooms.length > MAX_ROWS) rows.push([`and ${rooms.length - MAX_ROWS} more rooms`, '', '']);
  fill('rooms', rows);
}

const keys = (number: number) => (number === 1 ? '1 key' : `${count(number)} keys`);

function titleOf({ total, ok, missing }: Done): string {
  const all = total + missing;
  if (all === 0) return 'This backup is empty';
  if (ok === 0) return 'No key could be recovered';
  if (ok < all) return `${count(ok)} of ${keys(all)} recovered`;
  return all === 1 ? 'Your key is recovered' : `All ${keys(ok)} recovered`;
}

/** Why keys are missing, and what to do about it. */
function tellCause(done: Done): void {
  const cause = causeOf(done);
  byId('cause').hidden = cause === '';
  byId('cause').textContent = cause;
}

function causeOf({ total, ok, failed, fits, codes, cut, missing, leftOut }: Done): string {
  const refused = new Map(codes);
  if (!fits) {
    return (
      'That key does not fit this backup: not one of its keys was encrypted to it. Your backup is untouched; look ' +
      'for another recovery key, or for the files of the backup that this key belongs to.'
    );
  }
  if (cut === 'file') {
    return 'The file ends early, or is damaged. These are the keys that can be read; if you can, save the file again.';
  }
  if (cut === 'connection') {
    return (
      'The connection broke. These are the keys that came. As long as this page stays open, you can get the rest ' +
      'without starting over.'
    );
  }
  if (missing > 0) {
    return `The homeserver counts ${keys(missing)} more than it sent. Start again later to try for the rest.`;
  }
  if (total === 0) {
    return 'It holds no keys. Is it the right account? Another backup may be in files that you saved.';
  }
  if (failed === 0) return '';
  if (leftOut.length > 0) {
    const names = leftOut.map((choice) => `“${CHOICES[choice]}”`).join(' and ');
    return `You chose ${names}, which leaves others out. To get these as well, start again without it.`;
  }
  const foreign = refused.get('mac-mismatch') ?? 0;
  if (2 * foreign > failed) {
    return (
      `Not read: ${keys(foreign)} of another recovery key, or damaged. If you have another one, start again ` +
      'with it.'
    );
  }
  return ok > 0
    ? 'The others are damaged, or were written by an app that made a mistake. The report names each of them.'
    : 'The keys in it are damaged. The report names the reason for each of them.';
}

function warn(wrong: number): void {
  byId('warning').hidden = wrong === 0;
  byId('warning').textContent =
    wrong === 0
      ? ''
      : `Warning: somebody without your key wrote or changed ${keys(wrong)} in the file (wrong MAC). The report ` +
        `lists them. To leave them out, start again with “${CHOICES.authenticated}”; that also leaves out every ` +
        'key without a proof.';
}

function offerSalvage(left: Done['salvageable']): void {
  const sum = left.reduce((all, [, number]) => all + number, 0);
  byId('salvageable').hidden = sum === 0;
  byId('salvage-text').textContent =
    `${sum === 1 ? '1 more key' : `${count(sum)} more keys`} can perhaps be read although damaged: ` +
    `${left.map(([code, number]) => `${number} ${code}`).join(', ')}.`;
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
