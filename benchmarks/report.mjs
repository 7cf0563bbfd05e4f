// What was measured, as Markdown: the tables of RESULTS.md, and whether targets are reached.
import { readFileSync } from 'node:fs';
import { CONTENDERS } from './contenders.mjs';

const version = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).version;
const number = (value, digits = 2) => value.toFixed(digits);
const thousands = (value) => value.toLocaleString('en');
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

/** All that was measured of one thing, in all processes. */
export function findings(processes, { name, size, direction, major }) {
  const own = processes
    .filter(({ node }) => major === undefined || node.startsWith(`v${major}.`))
    .flatMap(({ results }) => results)
    .filter((one) => one.name === name && one.size === size && one.direction === direction);
  if (own.length === 0) return undefined;
  const ratios = own.map(({ ratio }) => ratio);
  return {
    microseconds: median(own.map(({ microseconds }) => microseconds)),
    ratio: median(ratios),
    low: Math.min(...ratios),
    high: Math.max(...ratios),
    processes: own.length,
  };
}

/** Ratios to libolm of whole sessions, with JSON, base64 and all checks: title, contender, size, direction, target, aim. */
const RATIOS = [
  ['pure JavaScript, bulk encrypt', 'pure', 'bulk', 'encrypt', 2.8, 4],
  ['pure JavaScript, 100 sessions to a new key', 'sync', 100, 'encrypt', 1.5, 2.5],
  ['pure JavaScript, single encrypt, warm', 'sync', 1, 'encrypt', 1, 1.5, { part: 'warm' }],
  ['pure JavaScript, bulk decrypt', 'pure', 'bulk', 'decrypt', 0.8, 1.1],
  ['node:crypto, bulk encrypt, one thread', 'node', 'bulk', 'encrypt', 3.6, 5],
  ['node:crypto, bulk decrypt, one thread', 'node', 'bulk', 'decrypt', 2.8, 4],
  [
    'node:crypto, bulk decrypt, one thread',
    'node',
    'bulk',
    'decrypt',
    3.4,
    4,
    { part: 'nodes', major: '22' },
  ],
  [
    'node:crypto, bulk decrypt, one thread',
    'node',
    'bulk',
    'decrypt',
    3.4,
    4,
    { part: 'nodes', major: '24' },
  ],
];

const PEAK = {
  title: 'highest resident size',
  of: ({ peak }) => peak / 1e6,
  worst: true,
  limit: 250,
  unit: ' MB',
};

/** Of the client: bytes and milliseconds as client.mjs gives them. */
const CLIENT = [
  {
    task: 'restore',
    title: 'time / decrypting alone',
    of: ({ time, alone }) => time / alone.time,
    limit: 1.3,
  },
  { task: 'restore', ...PEAK },
  { task: 'stream', ...PEAK },
  {
    task: 'upload',
    title: 'share of the time with encryption idle',
    of: ({ idle, time }) => idle / time,
    limit: 0.15,
  },
];

/** The targets that were measured, and whether they are reached. */
function targets(results) {
  const { table, bulk, memory, client } = results;
  const rows = [];
  const ratio = (title, found, target, aim) => {
    if (!found) return;
    const verdict = found.ratio >= aim ? 'aim reached' : found.ratio >= target ? 'reached' : 'MISSED';
    rows.push({ title, found: range(found), target: String(target), aim: String(aim), verdict });
  };
  const limit = (title, value, found, most, unit) =>
    rows.push({
      title,
      found,
      target: `under ${most}${unit}`,
      aim: '-',
      verdict: value < most ? 'reached' : 'MISSED',
    });

  for (const [title, name, size, direction, target, aim, { part = 'table', major } = {}] of RATIOS) {
    const query = { name, size: size === 'bulk' ? bulk : size, direction, major };
    const node = major === undefined ? '' : `, Node ${major}`;
    ratio(`${title}${node}`, results[part] && findings(results[part].measured, query), target, aim);
  }
  for (const direction of ['encrypt', 'decrypt']) {
    const gain = table && gainOfWorkers(table.measured, bulk, direction);
    ratio(`2 workers on 2 processors against one thread, ${direction}`, gain, 1.7, 1.9);
  }
  if (memory) {
    const { peakMegabytes, sessions } = memory.measured[0];
    const title = `memory, ${thousands(sessions)} sessions streamed through encryption and decryption`;
    limit(title, peakMegabytes, `${Math.round(peakMegabytes)} MB`, 300, ' MB');
  }
  for (const { task, title, of, worst = false, limit: most, unit = '' } of CLIENT) {
    const own = (client?.measured ?? []).filter((one) => one.task === task);
    if (own.length === 0) continue;
    const values = own.map(of);
    const [low, high, middle] = [Math.min(...values), Math.max(...values), median(values)];
    const name = `client, ${task === 'upload' ? 'upload' : 'restore'} of ${thousands(own[0].keys)} keys: ${title}`;
    if (worst) limit(name, high, `${Math.round(high)}${unit}`, most, unit);
    else limit(name, middle, range({ ratio: middle, low, high }), most, unit);
  }
  return rows;
}

const range = ({ ratio, low, high }) => `${number(ratio)} (${number(low)} to ${number(high)})`;

/** Workers and one thread were measured in the same rounds. */
function gainOfWorkers(processes, size, direction) {
  const gains = processes.flatMap(({ results }) => {
    const ratioOf = (name) =>
      results.find((one) => one.name === name && one.size === size && one.direction === direction)?.ratio;
    const [one, many] = [ratioOf('node'), ratioOf('workers')];
    return one && many ? [many / one] : [];
  });
  if (gains.length === 0) return undefined;
  return { ratio: median(gains), low: Math.min(...gains), high: Math.max(...gains) };
}

function markdownTable(head, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map((_, i) => (i === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}

function sizeTable(results, direction) {
  const { table, large } = results;
  const sizes = [
    ...new Set(
      [table, large]
        .flatMap((part) => part?.measured ?? [])
        .flatMap(({ results: own }) => own.map(({ size }) => size)),
    ),
  ].sort((a, b) => a - b);
  const cell = (name, size) => {
    const found = findings([...(table?.measured ?? []), ...(large?.measured ?? [])], {
      name,
      size,
      direction,
    });
    if (!found) return '';
    const time = `${number(found.microseconds, found.microseconds < 100 ? 1 : 0)} µs`;
    return name === 'libolm' ? time : `${time}, ${number(found.ratio)}`;
  };
  const rows = Object.entries(CONTENDERS)
    .map(([name, { title }]) => [title, ...sizes.map((size) => cell(name, size))])
    .filter(([, ...cells]) => cells.some((text) => text !== ''));
  return markdownTable([`${direction}, sessions at once`, ...sizes.map(thousands)], rows);
}

function nodeTable({ nodes, bulk }) {
  const versions = [...new Set(nodes.measured.map(({ node }) => node))];
  const rows = ['sync', 'node'].flatMap((name) =>
    ['encrypt', 'decrypt'].flatMap((direction) =>
      [100, bulk].map((size) => [
        `${CONTENDERS[name].title}, ${direction} ${thousands(size)}`,
        ...versions.map((node) => {
          const found = findings(nodes.measured, {
            name,
            size,
            direction,
            major: node.slice(1).split('.')[0],
          });
          return found ? `${number(found.microseconds, 1)} µs, ${range(found)}` : '';
        }),
      ]),
    ),
  );
  return markdownTable(['', ...versions], rows);
}

function stepTable({ measured }) {
  const titles = measured[0].steps.map(({ title }) => title);
  const found = titles.map((title) =>
    measured.map(({ steps }) => steps.find((step) => step.title === title).microseconds),
  );
  return [
    `Microseconds a session, each step by itself over ${thousands(measured[0].sessions)} sessions, medians of ${measured.length} processes. ` +
      'The agreement is one call into OpenSSL for every session, and one to make its public key an object that the call takes: ' +
      'together they leave too little for the rest where a target above is missed.',
    markdownTable(
      ['step', 'µs'],
      titles.map((title, i) => [title, number(median(found[i]), 1)]),
    ),
  ].join('\n\n');
}

export function shortReport(results) {
  return targets(results)
    .map(({ title, found, target, verdict }) => `${verdict.padEnd(12)} ${title}: ${found}, target ${target}`)
    .join('\n');
}

export function report(results) {
  const { table, nodes, large, memory, steps } = results;
  const machine = (table ?? large ?? memory).machine;
  const others = Object.values(results)
    .flatMap((part) => part?.measured ?? [])
    .flatMap((one) => one.others ?? []);
  const sections = [
    '# Results',
    'Written by `npm run bench`; not to be edited.',
    `${machine.date}, Node ${machine.node.slice(1)}, ${machine.processor}, ${machine.threads} threads, ${machine.gibibytes} GiB. ` +
      `libolm ${version('node_modules/@matrix-org/olm/package.json')}, vodozemac in matrix-sdk-crypto-wasm ${version('node_modules/@matrix-org/matrix-sdk-crypto-wasm/package.json')}, ` +
      `noble curves ${version('node_modules/@noble/curves/package.json')}, megolm-backup ${version('../package.json')}.`,
    'Whole sessions: from exported session to backup record and back, with JSON, base64 and all checks each library makes; ' +
      'the JSON of a session is about 540 bytes. Every figure is the median of processes, each of which ran libolm and the other in turn on the same sessions; ' +
      'a ratio is the time of libolm divided by the other’s, so more is faster. Encryption is to a new key in every run, unless it says warm.',
  ];
  if (others.length > 0) {
    sections.push(
      `What else the machine was doing while libolm and the others ran: ${number(median(others))} processors busy in the median process, ` +
        `${number(Math.max(...others))} in the worst.`,
    );
  }
  const rows = targets(results).map(({ title, found, target, aim, verdict }) => [
    title,
    found,
    target,
    aim,
    verdict,
  ]);
  sections.push('## Targets', markdownTable(['', 'measured', 'target', 'aim', ''], rows));
  if (table) {
    sections.push(
      '## By number of sessions',
      'Microseconds a session, and the ratio to libolm.',
      sizeTable(results, 'encrypt'),
      sizeTable(results, 'decrypt'),
    );
  }
  if (nodes?.measured.length > 0) sections.push('## Other versions of Node', nodeTable(results));
  if (steps) sections.push('## Where the time of decryption on Node goes', stepTable(steps));
  if (memory) {
    const { sessions, seconds, peakMegabytes } = memory.measured[0];
    sections.push(
      '## Memory',
      `${thousands(sessions)} sessions streamed through encryption and decryption, one pipeline, workers chosen automatically: ` +
        `highest resident size ${Math.round(peakMegabytes)} MB, ${Math.round(seconds)} s.`,
    );
  }
  return `${sections.join('\n\n')}\n`;
}
