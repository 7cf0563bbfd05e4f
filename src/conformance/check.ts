import type { ServerUnderTest } from './server-under-test.js';

/** One statement about servers, and how to test it. */
export type Check = {
  readonly name: string;
  /** Throws `NotConforming`. Where several answers are right, returns which one the server gives. */
  readonly run: (server: ServerUnderTest) => Promise<string | undefined>;
} & (
  | {
      readonly kind: 'specification';
      /** The section of the client-server specification that demands it. */
      readonly section: string;
    }
  | {
      readonly kind: 'recommendation';
      /** Why this project recommends it. The specification does not demand it. */
      readonly why: string;
    }
);

/** Gets the server and a new, empty version of alice. Returns a note, or anything else where there is nothing to add. */
type Run = (server: ServerUnderTest & { readonly version: string }) => unknown;

/** Checks of what a section of the specification demands, by their names. */
export function specification(section: string, checks: Readonly<Record<string, Run>>): readonly Check[] {
  return Object.entries(checks).map(([name, run]) => ({
    kind: 'specification',
    section,
    name,
    run: onNewVersion(run),
  }));
}

/** A check of what this project recommends. */
export function recommendation(name: string, why: string, run: Run): Check {
  return { kind: 'recommendation', why, name, run: onNewVersion(run) };
}

function onNewVersion(run: Run): Check['run'] {
  return async (server) => {
    const note = await run({ ...server, version: await server.alice.newVersion() });
    return typeof note === 'string' ? note : undefined;
  };
}
