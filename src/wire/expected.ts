/** What may come next between two values. `first`: a member, or the end of a container that was just opened. */
export type Expected = 'first' | 'key' | 'colon' | 'value' | 'next' | 'end';

/** In words. */
export const IN_OBJECT: Readonly<Record<Expected, string>> = {
  first: 'a key or "}"',
  key: 'a key',
  colon: '":"',
  value: 'a value',
  next: '"," or "}"',
  end: 'nothing more',
};

export const IN_ARRAY = { ...IN_OBJECT, first: 'a value or "]"', next: '"," or "]"' };
