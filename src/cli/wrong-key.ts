/** What people mistake for the key of a backup. */
export const LOOKALIKE =
  'the key of the secret storage looks alike but is another one: "rescue" takes either';

/** What to say when a key reads no record of a backup. */
export const WRONG_KEY = `the key does not fit this backup: not one of its keys was encrypted to it (wrong-key); ${LOOKALIKE}`;
