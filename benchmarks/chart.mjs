// The ratios to libolm as bars, for the README. Readable on light and on dark ground.
import { CONTENDERS } from './contenders.mjs';
import { findings } from './report.mjs';

const WIDTH = 760;
const LEFT = 330;
const ROW = 26;
const NAMES = ['noble', 'decryptV1', 'vodozemac', 'libolm', 'pure', 'node', 'workers'];

export function chart({ table, bulk }) {
  const panels = ['encrypt', 'decrypt'].map((direction) => ({
    direction,
    bars: NAMES.flatMap((name) => {
      // Where a contender is too slow for the large batch: cost per session hardly depends on it.
      const found = [bulk, 1000]
        .map((size) => findings(table.measured, { name, size, direction }))
        .find(Boolean);
      return found
        ? [{ title: CONTENDERS[name].title, ratio: found.ratio, ours: CONTENDERS[name].ours }]
        : [];
    }),
  }));
  const most = Math.max(...panels.flatMap(({ bars }) => bars.map(({ ratio }) => ratio)));
  const scale = (WIDTH - LEFT - 60) / most;
  let y = 0;
  const shapes = panels.flatMap(({ direction, bars }) => {
    y += 34;
    const heading = `<text x="0" y="${y - 10}" font-weight="bold">${direction}, ${bulk.toLocaleString('en')} sessions: times as fast as libolm</text>`;
    const rows = bars.map(({ title, ratio, ours }) => {
      const row =
        `<text x="${LEFT - 10}" y="${y + 17}" text-anchor="end">${shortTitle(title)}</text>` +
        `<rect x="${LEFT}" y="${y + 4}" width="${(ratio * scale).toFixed(1)}" height="${ROW - 8}" fill="${ours ? '#2f81f7' : '#8b949e'}"/>` +
        `<text x="${(LEFT + ratio * scale + 6).toFixed(1)}" y="${y + 17}">${ratio.toFixed(2)}</text>`;
      y += ROW;
      return row;
    });
    const one = (LEFT + scale).toFixed(1);
    const line = `<line x1="${one}" x2="${one}" y1="${y - ROW * bars.length}" y2="${y}" stroke="#8b949e" stroke-dasharray="3 3"/>`;
    return [heading, ...rows, line];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y + 6}" width="${WIDTH}" role="img" font-family="system-ui, sans-serif" font-size="13" fill="#6e7681">`,
    '<title>Encryption and decryption of whole sessions, compared with libolm</title>',
    ...shapes,
    '</svg>',
    '',
  ].join('\n');
}

const shortTitle = (title) =>
  title.replace(', PkEncryption and PkDecryption', '').replace(' (WebAssembly),', ',');
