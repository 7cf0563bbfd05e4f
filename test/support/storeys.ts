/** Imports point down: what a storey may import besides itself. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  engine: [],
  backends: ['engine'],
  api: ['engine'],
  client: ['api', 'backends', 'engine'],
  server: ['api', 'engine'],
  conformance: ['api', 'engine'],
  cli: ['api', 'backends', 'client', 'conformance', 'engine', 'server'],
  // The faces of the package, in src itself.
  '.': ['api', 'backends', 'client', 'engine'],
};
