// What was measured, as Markdown: the tables of RESULTS.md, and whether what was promised is kept.
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

/** What is promised: ratios to libolm, whole sessions with JSON, base64 and all checks. */
function promises({ table, warm, nodes, bulk, memory, client }) {
  const at = (part, query) => part && findings(part.measured, query);
  const rows = [
    ['pure JavaScript, bulk encrypt', at(table, { name: 'pure', size: bulk, direction: 'encrypt' }), 2.8, 4],
    [
      'pure JavaScript, 100 sessions to a new key',
      at(table, { name: 'sync', size: 100, direction: 'encrypt' }),
      1.5,
      2.5,
    ],
    [
      'pure JavaScript, single encrypt, warm',
      at(warm, { name: 'sync', size: 1, direction: 'encrypt' }),
      1,
      1.5,
    ],
    [
      'pure JavaScript, bulk decrypt',
      at(table, { name: 'pure', size: bulk, direction: 'decrypt' }),
      0.8,
      1.1,
    ],
    [
      'node:crypto, bulk encrypt, one thread',
      at(table, { name: 'node', size: bulk, direction: 'encrypt' }),
      3.6,
      5,
    ],
    [
      `node:crypto, bulk decrypt, one thread, ${table?.machine.node}`,
      at(table, { name: 'node', size: bulk, direction: 'decrypt' }),
      2.8,
      4,
    ],
    ...['22', '24'].map((major) => [
      `node:crypto, bulk decrypt, one thread, Node ${major}`,
      at(nodes, { name: 'node', size: bulk, direction: 'decrypt', major }),
      3.4,
      4,
    ]),
    ...['encrypt', 'decrypt'].map((direction) => [
      `2 workers on 2 processors against one thread, ${direction}`,
      table && gainOfWorkers(table.measured, bulk, direction),
      1.7,
      1.9,
    ]),
  ].filter(([, found]) => found !== undefined);
  const reached = rows.map(([title, found, floor, aim]) => ({
    title,
    found: `${number(found.ratio)} (${number(found.low)} to ${number(found.high)})`,
    floor: String(floor),
    aim: String(aim),
    verdict: found.ratio >= aim ? 'aim reached' : found.ratio >= floor ? 'reached' : 'MISSED',
  }));
  if (memory) {
    const { peakMegabytes, sessions } = memory.measured[0];
    reached.push({
      title: `memory, ${thousands(sessions)} sessions streamed through encryption and decryption`,
      found: `${Math.round(peakMegabytes)} MB`,
      floor: 'under 300 MB',
      aim: '-',
      verdict: peakMegabytes < 300 ? 'reached' : 'MISSED',
    });
  }
  if (client) reached.push(...clientPromises(client));
  return reached;
}

/** What is promised of the client: bytes and milliseconds as client.mjs gives them. */
function clientPromises({ measured }) {
  const own = (name) => measured.filter(({ task }) => task === name);
  const ratioOf = (values) =>
    `${number(median(values))} (${number(Math.min(...values))} to ${number(Math.max(...values))})`;
  const peak = (runs) => Math.max(...runs.map((one) => one.peak)) / 1e6;
  const row = (title, found, floor, kept) => ({
    title,
    found,
    floor,
    aim: '-',
    verdict: kept ? 'reached' : 'MISSED',
  });
  const rows = [];
  const [restores, streams, uploads] = ['restore', 'stream', 'upload'].map(own);
  if (restores.length > 0) {
    const keys = thousands(restores[0].keys);
    const wall = restores.map(({ time, alone }) => time / alone.time);
    rows.push(
      row(
        `client, restore of ${keys} keys: time / decrypting alone`,
        ratioOf(wall),
        'under 1.3',
        median(wall) < 1.3,
      ),
      row(
        `client, restore of ${keys} keys: highest resident size`,
        `${Math.round(peak(restores))} MB`,
        'under 250 MB',
        peak(restores) < 250,
      ),
    );
  }
  if (streams.length > 0) {
    const title = `client, restore of ${thousands(streams[0].keys)} keys: highest resident size`;
    rows.push(row(title, `${Math.round(peak(streams))} MB`, 'under 250 MB', peak(streams) < 250));
  }
  if (uploads.length > 0) {
    const idle = uploads.map((one) => one.idle / one.time);
    rows.push(
      row(
        `client, upload of ${thousands(uploads[0].keys)} keys: share of the time with encryption idle`,
        ratioOf(idle),
        'under 0.15',
        median(idle) < 0.15,
      ),
    );
  }
  return rows;
}

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

function promiseTable(results) {
  return markdownTable(
    ['', 'measured', 'at least', 'aim', ''],
    promises(results).map(({ title, found, floor, aim, verdict }) => [title, found, floor, aim, verdict]),
  );
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
          return found
            ? `${number(found.microseconds, 1)} µs, ${number(found.ratio)} (${number(found.low)} to ${number(found.high)})`
            : '';
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
      'together they leave too little for the rest where a floor above is missed.',
    markdownTable(
      ['step', 'µs'],
      titles.map((title, i) => [title, number(median(found[i]), 1)]),
    ),
  ].join('\n\n');
}

export function shortReport(results) {
  const rows = promises(results).map(
    ({ title, found, floor, verdict }) => `${verdict.padEnd(12)} ${title}: ${found}, at least ${floor}`,
  );
  return rows.join('\n');
}

export function report(results) {
  const { table, nodes, large, memory, steps } = results;
  const machine = (table ?? large ?? memory).machine;
  const others = Object.values(results)
    .flatMap((part) => part?.measured ?? [])
    .flatMap((one) => one.others ?? []);
  const missed = promises(results).filter(({ verdict }) => verdict === 'MISSED');
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
  sections.push('## What is promised', promiseTable(results));
  if (missed.length > 0) {
    sections.push(
      `Missed: ${missed.map(({ title, found, floor }) => `${title} (${found}, promised ${floor})`).join('; ')}.`,
    );
  }
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
      `${thousands(sessions)} sessions streamed through encryption and decryption, one pipeline, workers as they are chosen by themselves: ` +
        `highest resident size ${Math.round(peakMegabytes)} MB, ${Math.round(seconds)} s.`,
    );
  }
  return `${sections.join('\n\n')}\n`;
}
