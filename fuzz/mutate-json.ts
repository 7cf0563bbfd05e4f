import type { Random } from './random.js';

/** Values that are wrong somewhere, or right where another type stood. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  1.5,
  2 ** 53,
  2 ** 53 - 1,
  1e300,
  '',
  'x',
  '!r:e',
  '\0',
  '\ud800',
  '\ufeff',
  'AAAA',
  'AAA=',
  [],
  {},
  [null],
  [[]],
  { a: 1 },
  ['x'],
];
const NAMES = ['', '__proto__', 'constructor', 'toJSON', 'a', '\0', '\u{1f600}', '\uffff'];

/** Where a value stands, and how to put another one there. */
interface Place {
  readonly value: unknown;
  readonly put: (value: unknown) => void;
  /** Takes it out of its array or object. */
  readonly remove: () => void;
  readonly parent: Record<string, unknown> | unknown[] | undefined;
  readonly name: string;
}

/**
 * JSON with one value changed, left out, moved or doubled, or one name changed; `undefined` when the text is none. Bytes
 * changed at random seldom leave JSON behind.
 */
export function mutatedJson(text: string, random: Random): string | undefined {
  let root: unknown;
  try {
    root = JSON.parse(text);
  } catch {
    return undefined;
  }
  const places: Place[] = [];
  const put = (value: unknown) => {
    root = value;
  };
  collect({ value: root, put, remove: () => undefined, parent: undefined, name: '' }, places);
  change(random.of(places), places, random);
  try {
    return JSON.stringify(root);
  } catch {
    // Put into itself.
    return undefined;
  }
}

function change(place: Place, places: readonly Place[], random: Random): void {
  const { value, put, remove, parent } = place;
  const otherName = random.of([...NAMES, ...places.map((one) => one.name)]);
  switch (random.below(6)) {
    case 0:
      put(random.of(VALUES));
      break;
    case 1:
      put(structuredClone(random.of(places).value));
      break;
    case 2:
      remove();
      break;
    case 3:
      if (Array.isArray(parent)) parent.push(structuredClone(value));
      else if (parent) define(parent, otherName, structuredClone(value));
      break;
    case 4:
      if (parent && !Array.isArray(parent)) {
        remove();
        define(parent, otherName, value);
      }
      break;
    default:
      put(typeof value === 'string' ? changedText(value, random) : random.of(VALUES));
  }
}

function changedText(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const added = random.of([
    '',
    '=',
    '==',
    'A',
    '\0',
    '\ud800',
    '-',
    ' ',
    '/',
    String.fromCharCode(random.below(128)),
  ]);
  return text.slice(0, at) + added + text.slice(at + random.below(3));
}

function collect(place: Place, places: Place[]): void {
  places.push(place);
  const { value } = place;
  if (typeof value !== 'object' || value === null || places.length > 500) return;
  const parent = value as Record<string, unknown>;
  for (const name of Object.keys(parent)) {
    const put = (other: unknown) => {
      define(parent, name, other);
    };
    const remove = () => {
      if (Array.isArray(parent)) parent.splice(Number(name), 1);
      else Reflect.deleteProperty(parent, name);
    };
    collect({ value: parent[name], put, remove, parent, name }, places);
  }
}

/** Not an assignment, which would take `__proto__` for something else. */
function define(object: object, name: string, value: unknown): void {
  Object.defineProperty(object, name, { value, configurable: true, enumerable: true, writable: true });
}
