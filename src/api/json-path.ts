/** The JSON path of what stands under an id, which may be any string: `$.rooms["!room:example.org"]`. */
export function idPath(parent: string, id: string): string {
  return `${parent}[${JSON.stringify(id)}]`;
}

/** The JSON path of a field: `$.auth_data`, quoted like an id when it is no plain name. */
export function memberPath(parent: string, field: string): string {
  return /^[A-Za-z_][A-Za-z0-9_]*$/.test(field) ? `${parent}.${field}` : idPath(parent, field);
}
