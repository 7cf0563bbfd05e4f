// What was measured, as Markdown: the tables of RESULTS.md, and whether targets are reached.
import { readFileSync } from 'node:fs';
import { CONTENDERS } from './contenders.mjs';

const version = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version;
const number = (value, digits = 2) => value.toFixed(digits);
const thousands = (value) => value.toLocaleString('en');
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** The middle of what processes found, and their range. */
const spread = (ratios) => ({ ratio: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) });
const range = ({ ratio, low, high }) => `${number(ratio)} (${number(low)} to ${number(high)})`;

/** All that was measured of one contender, in all processes. */
function findings(processes, { name, size, direction, major }) {
  const own = processes
    .filter(({ node }) => major === undefined || node.startsWith(`v${major}.`))
    .flatMap(({ results }) => results)
    .filter((one) => one.name === name && one.size === size && one.direction === direction);
  if (own.length === 0) return undefined;
  const microseconds = median(own.map((one) => one.microseconds));
  return { microseconds, ...spread(own.map(({ ratio }) => ratio)) };
}

const BULK_DECRYPT = ['node:crypto, bulk decrypt, one thread', 'node', 'bulk', 'decrypt'];

/** Ratios to libolm: title, contender, size, direction, target, aim. */
const RATIOS = [
  ['pure JavaScript, bulk encrypt', 'pure', 'bulk', 'encrypt', 2.8, 4],
  ['pure JavaScript, 100 sessions to a new key', 'sync', 100, 'encrypt', 1.5, 2.5],
  ['pure JavaScript, single encrypt, warm', 'sync', 1, 'encrypt', 1, 1.5, { part: 'warm' }],
  ['pure JavaScript, bulk decrypt', 'pure', 'bulk', 'decrypt', 0.8, 1.1],
  ['node:crypto, bulk encrypt, one thread', 'node', 'bulk', 'encrypt', 3.6, 5],
  [...BULK_DECRYPT, 2.8, 4],
  [...BULK_DECRYPT, 3.4, 4, { part: 'nodes', major: '22' }],
  [...BULK_DECRYPT, 3.4, 4, { part: 'nodes', major: '24' }],
];

const PEAK = ['highest resident size', ({ peak }) => peak / 1e6, 250, ' MB'];

/** Of the client: task, title, value, limit, unit. */
const CLIENT = [
  ['restore', 'time / decrypting alone', ({ time, alone }) => time / alone.time, 1.3],
  ['restore', ...PEAK],
  ['stream', ...PEAK],
  ['upload', 'share of the time with encryption idle', ({ idle, time }) => idle / time, 0.15],
];

/** The targets that were measured, and whether they are reached: title, measured, target, aim, verdict. */
function targets(results) {
  const { table, bulk, memory, client = [] } = results;
  const rows = [];
  const ratio = (title, found, target, aim) => {
    if (!found) return;
    const verdict = found.ratio >= aim ? 'aim reached' : found.ratio >= target ? 'reached' : 'MISSED';
    rows.push([title, range(found), target, aim, verdict]);
  };
  const limit = (title, value, found, most, unit) =>
    rows.push([title, found, `under ${most}${unit}`, '-', value < most ? 'reached' : 'MISSED']);

  for (const [title, name, size, direction, target, aim, { part = 'table', major } = {}] of RATIOS) {
    const query = { name, size: size === 'bulk' ? bulk : size, direction, major };
    const node = major === undefined ? '' : `, Node ${major}`;
    ratio(`${title}${node}`, results[part] && findings(results[part], query), target, aim);
  }
  for (const direction of ['encrypt', 'decrypt']) {
    const gain = table && gainOfWorkers(table, bulk, direction);
    ratio(`2 workers on 2 processors against one thread, ${direction}`, gain, 1.7, 1.9);
  }
  if (memory) {
    const [{ peakMegabytes, sessions }] = memory;
    const title = `memory, ${thousands(sessions)} sessions streamed through encryption and decryption`;
    limit(title, peakMegabytes, `${Math.round(peakMegabytes)} MB`, 300, ' MB');
  }
  for (const [task, title, of, most, unit = ''] of CLIENT) {
    const own = client.filter((one) => one.task === task);
    if (own.length === 0) continue;
    const found = spread(own.map(of));
    const name = `client, ${task === 'upload' ? 'upload' : 'restore'} of ${thousands(own[0].keys)} keys: ${title}`;
    // Of memory, the worst counts.
    if (unit) limit(name, found.high, `${Math.round(found.high)}${unit}`, most, unit);
    else limit(name, found.ratio, range(found), most, unit);
  }
  return rows;
}

/** Workers and one thread were measured in the same rounds. */
function gainOfWorkers(processes, size, direction) {
  const gains = processes.flatMap((one) => {
    const [thread, workers] = ['node', 'workers'].map(
      (name) => findings([one], { name, size, direction })?.ratio,
    );
    return thread && workers ? [workers / thread] : [];
  });
  return gains.length === 0 ? undefined : spread(gains);
}

function markdownTable(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

function sizeTable({ table, large = [] }, direction) {
  const processes = [...table, ...large];
  const sizes = new Set(
    processes.flatMap(({ results }) => results.map(({ size }) => size)).sort((a, b) => a - b),
  );
  const cell = (name, size) => {
    const found = findings(processes, { name, size, direction });
    if (!found) return '';
    const time = `${number(found.microseconds, found.microseconds < 100 ? 1 : 0)} µs`;
    return name === 'libolm' ? time : `${time}, ${number(found.ratio)}`;
  };
  const rows = Object.entries(CONTENDERS)
    .map(([name, { title }]) => [title, ...Array.from(sizes, (size) => cell(name, size))])
    .filter(([, ...cells]) => cells.some((text) => text !== ''));
  return markdownTable([`${direction}, sessions at once`, ...Array.from(sizes, thousands)], rows);
}

function nodeTable({ nodes, bulk }) {
  const versions = [...new Set(nodes.map(({ node }) => node))];
  const cell = (query, node) => {
    const found = findings(nodes, { ...query, major: node.slice(1).split('.')[0] });
    return found ? `${number(found.microseconds, 1)} µs, ${range(found)}` : '';
  };
  const rows = ['sync', 'node'].flatMap((name) =>
    ['encrypt', 'decrypt'].flatMap((direction) =>
      [100, bulk].map((size) => [
        `${CONTENDERS[name].title}, ${direction} ${thousands(size)}`,
        ...versions.map((node) => cell({ name, size, direction }, node)),
      ]),
    ),
  );
  return markdownTable(['', ...versions], rows);
}

export function shortReport(results) {
  return targets(results)
    .map(([title, found, target, , verdict]) => `${verdict.padEnd(12)} ${title}: ${found}, target ${target}`)
    .join('\n');
}

export function report(results) {
  const { machine, nodes } = results;
  return [
    '# Results',
    'Written by `npm run bench`; not to be edited.',
    `${machine}. libolm ${version('../node_modules/@matrix-org/olm/package.json')}, vodozemac in matrix-sdk-crypto-wasm ` +
      `${version('../node_modules/@matrix-org/matrix-sdk-crypto-wasm/package.json')}, ` +
      `noble curves ${version('../node_modules/@noble/curves/package.json')}, megolm-backup ${version('../package.json')}.`,
    'Whole sessions: from exported session to backup record and back, with JSON, base64 and all checks each library makes; ' +
      'the JSON of a session is about 540 bytes. Every figure is the median of processes, each of which ran libolm and the other in turn on the same sessions; ' +
      'a ratio is the time of libolm divided by the other’s, so more is faster. Encryption is to a new key in every run, except where it says warm.',
    '## Targets',
    markdownTable(['', 'measured', 'target', 'aim', ''], targets(results)),
    '## By number of sessions',
    'Microseconds a session, and the ratio to libolm.',
    sizeTable(results, 'encrypt'),
    sizeTable(results, 'decrypt'),
    ...(nodes.length > 0 ? ['## Other versions of Node', nodeTable(results)] : []),
    '',
  ].join('\n\n');
}
