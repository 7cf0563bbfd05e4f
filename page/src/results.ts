import { authenticityText } from '../../src/api/authenticity.js';
import type { Answer } from './messages.js';

type Done = Extract<Answer, { kind: 'done' }>;

/** More rows say nothing more and make the page slow. The report has everything. */
const MAX_ROWS = 500;

const SVG = 'http://www.w3.org/2000/svg';

/** Shows how it ended: numbers, a chart, two tables, two downloads. */
export function showResults(done: Done): void {
  const { total, ok, failed, flagged, authenticity, seconds, opened } = done;
  const rate = Math.round(total / Math.max(seconds, 0.001));
  const notes = flagged > 0 ? `, ${flagged} of them flagged` : '';
  const said =
    `${ok} of ${total} keys${notes}; ${failed} not read. Opened with ${opened}. ` +
    `${seconds.toFixed(1)} seconds, ${rate} keys a second. ${authenticityText(authenticity)}`;
  byId('summary').textContent = said.trim();
  offer('export', done.exported);
  offer('report', done.report);
  const reasons: (readonly [string, number])[] = [['read', ok], ...done.codes];
  byId('chart').replaceChildren(chart(reasons, total));
  fill(
    'reasons',
    reasons.map(([reason, count]) => [reason, String(count)]),
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

/** Horizontal bars, one a reason; the table below says the same in words. */
function chart(reasons: readonly (readonly [string, number])[], total: number): SVGElement {
  const svg = create('svg', { viewBox: `0 0 600 ${reasons.length * 28}`, role: 'img' });
  const title = create('title', {});
  title.textContent = 'Keys by reason';
  svg.append(title);
  reasons.forEach(([reason, count], i) => {
    const width = Math.max(total === 0 ? 0 : (380 * count) / total, count > 0 ? 1 : 0);
    const kind = reason === 'read' ? 'bar' : 'bar failed';
    const label = create('text', { x: '0', y: String(i * 28 + 18) });
    label.textContent = `${reason} ${count}`;
    svg.append(
      create('rect', { class: kind, x: '210', y: String(i * 28 + 4), width: String(width), height: '18' }),
    );
    svg.append(label);
  });
  return svg;
}

function create(name: string, attributes: Readonly<Record<string, string>>): SVGElement {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
