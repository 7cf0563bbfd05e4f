// Ours and another server of the same API, in turns: whatever slows the machine down slows down both, so the ratios
// hardly depend on it.
import {
  batches,
  getKey,
  getKeys,
  many,
  median,
  newBatch,
  newVersion,
  putKey,
  putKeys,
  replacing,
} from './server-requests.mjs';

const TURNS = 7;

/**
 * What one turn sends to each server, after a number of batches of 200 keys were stored: which requests, by how many
 * clients, and what the ratio must reach. Every turn has a new backup, since another server may become slower as one
 * grows.
 */
const WORK = [
  { title: 'GET of one key', target: 4, stored: 5, items: someKeys(500), request: getKey },
  {
    title: 'GET of one key, 8 clients',
    target: 4,
    stored: 5,
    clients: 8,
    items: someKeys(1000),
    request: getKey,
  },
  { title: 'PUT of one key', target: 4, stored: 1, items: () => newBatch(300).ids, request: putKey },
  { title: 'PUT of 200 new keys', target: 4, stored: 1, items: () => batches(20), request: putKeys },
  {
    title: 'PUT of 200, two thirds replaced',
    target: 10,
    stored: 10,
    items: (seeds) => seeds.map(({ ids }) => replacing(ids)),
    request: putKeys,
  },
  {
    title: 'GET of 10,000 keys',
    target: 2,
    aim: 4,
    stored: 50,
    items: () => Array(5).fill(0),
    request: getKeys,
  },
];

function someKeys(count) {
  return (seeds) => seeds.flatMap(({ ids }) => ids).slice(0, count);
}

/**
 * @param servers - Ours, then the other. Each account gets versions, which are deleted again.
 * @param tell - Called with each kind of work, how many times as fast ours was in each turn, and the requests a second
 *   of each server.
 */
export async function beside(servers, tell) {
  for (const { title, target, aim, stored, clients = 1, items, request } of WORK) {
    const turns = [];
    for (let turn = 0; turn <= TURNS; turn++) {
      const seeds = Array.from({ length: stored }, () => newBatch(200, 5));
      const sent = items(seeds);
      const rates = [];
      for (const server of servers) {
        const version = await newVersion(server);
        await many(server, seeds, 1, ({ body }) => putKeys(version)(body));
        rates.push(sent.length / (await many(server, sent, clients, request(version))).seconds);
        await server.call('DELETE', `/version/${version}`);
      }
      // The first turn is the compiler's.
      if (turn > 0) turns.push(rates);
    }
    tell({
      title,
      target,
      aim,
      ratios: turns.map(([ours, other]) => ours / other),
      rates: servers.map((_, i) => median(turns.map((rates) => rates[i]))),
    });
  }
}
