import type { ServerUnderTest } from './server-under-test.js';

/** One statement about servers, and how to test it. */
export interface Check {
  readonly name: string;
  readonly kind: 'specification' | 'recommendation';
  /** With `specification`: the section of the client-server specification that demands it. */
  readonly section?: string;
  /** With `recommendation`: why this project recommends it. The specification does not demand it. */
  readonly why?: string;
  /** Throws `NotConforming`. Where several answers are right, returns which one the server gives. */
  readonly run: (server: ServerUnderTest) => Promise<string | undefined>;
}

/** Gets the server and a new, empty version of alice. Returns a note, or anything else where there is nothing to add. */
type Run = (server: ServerUnderTest & { readonly version: string }) => unknown;

/** Checks of what a section of the specification demands, by their names. */
export function specification(section: string, runs: Readonly<Record<string, Run>>): Check[] {
  return checksOf({ kind: 'specification', section }, runs);
}

/** Checks of what this project recommends, by their names. */
export function recommendation(why: string, runs: Readonly<Record<string, Run>>): Check[] {
  return checksOf({ kind: 'recommendation', why }, runs);
}

function checksOf(about: Omit<Check, 'name' | 'run'>, runs: Readonly<Record<string, Run>>): Check[] {
  return Object.entries(runs).map(([name, run]) => ({
    ...about,
    name,
    async run(server) {
      const note = await run({ ...server, version: await server.alice.newVersion() });
      return typeof note === 'string' ? note : undefined;
    },
  }));
}
