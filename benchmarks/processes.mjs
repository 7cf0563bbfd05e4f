// What processes use, read from /proc: Linux only.
import { readFileSync, readdirSync } from 'node:fs';
import { cpus } from 'node:os';

/** Ticks of the times in /proc, a second: the same on every Linux that Node runs on. */
const TICKS = 100;

/** How long, in milliseconds, the processors were at work since the machine started. */
export function busy() {
  const times = cpus().flatMap(({ times: { idle: _, ...others } }) => Object.values(others));
  return { time: times.reduce((sum, time) => sum + time, 0), at: performance.now() };
}

/** A process and everything that it started. */
export class ProcessTree {
  #root;
  /** By process: what it is, and the highest that was seen of it, in bytes. */
  #seen = new Map();

  constructor(root) {
    this.#root = root;
  }

  /** Milliseconds of processor time of all of them, those that have ended included. */
  cpu() {
    const ticks = this.#processes().reduce((sum, { ticks }) => sum + ticks, 0);
    return (1000 * ticks) / TICKS;
  }

  /** Takes in what they use now. */
  look() {
    for (const { pid } of this.#processes()) {
      const before = this.#seen.get(pid) ?? { kind: kindOf(pid), resident: 0, private: 0 };
      const rollup = fieldsOf(`/proc/${pid}/smaps_rollup`);
      this.#seen.set(pid, {
        kind: before.kind,
        // The system keeps the highest mark itself.
        resident: Math.max(before.resident, fieldsOf(`/proc/${pid}/status`).VmHWM ?? 0),
        private: Math.max(before.private, (rollup.Private_Clean ?? 0) + (rollup.Private_Dirty ?? 0)),
      });
    }
  }

  /** The largest of a kind: `renderer`, `browser`, or `other`. */
  largest(kind) {
    const own = [...this.#seen.values()].filter((one) => one.kind === kind);
    return own.toSorted((a, b) => b.resident - a.resident)[0];
  }

  #processes() {
    const all = new Map();
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue;
      const stat = read(`/proc/${name}/stat`);
      // The name in brackets may hold spaces.
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields.length < 15) continue;
      const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
      all.set(Number(name), { pid: Number(name), parent: Number(fields[1]), ticks });
    }
    const belongs = ({ pid, parent }) =>
      pid === this.#root || (all.has(parent) && parent !== pid && belongs(all.get(parent)));
    return [...all.values()].filter(belongs);
  }
}

function kindOf(pid) {
  const command = read(`/proc/${pid}/cmdline`);
  const type = /--type=([a-z-]+)/.exec(command)?.[1];
  if (type !== undefined) return type;
  return command.includes('--remote-debugging') ? 'browser' : 'other';
}

/** The sizes in a file of /proc, in bytes. */
function fieldsOf(path) {
  const fields = read(path).matchAll(/^(\w+):\s+(\d+) kB$/gm);
  return Object.fromEntries(Array.from(fields, ([, name, size]) => [name, 1024 * Number(size)]));
}

/** Nothing where the process has ended. */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
