/**
 * The layers in order: a file imports from its own layer and from those before it, type imports included. `client`,
 * `server` and `conformance` stand side by side.
 */
export const ORDER: readonly (readonly string[])[] = [
  ['errors.ts'],
  ['async.ts'],
  ['encoding'],
  ['curve25519'],
  ['scheme'],
  ['formats'],
  ['batch'],
  ['secret-storage'],
  ['backends'],
  ['wire'],
  ['report'],
  ['client', 'server', 'conformance'],
  ['cli'],
];

/** Entry points of the package, in src itself: they re-export and hold no code. */
export const ENTRY_POINTS: readonly string[] = ['index.ts', 'engine.ts'];

/** The layer of a path below src: its folder, or the file itself for ground files and entry points. */
export function layerOf(path: string): string {
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : path;
}

/** What each layer may import. */
export const MAY_IMPORT: ReadonlyMap<string, readonly string[]> = new Map(
  ORDER.flatMap((layers, index) =>
    layers.map((layer) => [layer, [layer, ...ORDER.slice(0, index).flat()]] as [string, string[]]),
  ),
);
