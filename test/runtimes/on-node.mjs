/**
 * Runs the suite in this process, as on Node, Bun and Deno, and prints what came of it as a line of JSON.
 *
 * usage: on-node.mjs [BASE_URL ACCESS_TOKEN]
 */
import { nodeBackend } from 'megolm-backup/node';
import { runSuite } from './suite.mjs';
import { worldOfFiles } from './world.mjs';

const [baseUrl, accessToken] = process.argv.slice(2);
const world = {
  ...(await worldOfFiles()),
  backends: { 'node:crypto': nodeBackend },
  ...(baseUrl !== undefined && { homeserver: { baseUrl, accessToken } }),
};
console.log(JSON.stringify(await runSuite(world)));
