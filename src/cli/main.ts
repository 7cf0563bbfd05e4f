#!/usr/bin/env node
import { Interrupted } from './errors.js';
import { main } from './commands.js';
import { processTerminal } from './terminal.js';

const terminal = processTerminal();
const exitCode = await main(process.argv.slice(2), terminal);
process.exitCode ??= exitCode;
const { reason } = terminal.signal as { reason: unknown };
// Die of the same signal, so that Ctrl-C also ends the script around this command.
if (exitCode !== 0 && reason instanceof Interrupted) {
  process.removeAllListeners(reason.by);
  process.kill(process.pid, reason.by);
}
