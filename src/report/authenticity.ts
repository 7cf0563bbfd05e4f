import type { Authenticity } from '../scheme/backup-mac.js';

/** How reports count and name what proves where it comes from, and what does not. */

/** How many keys have which authenticity. */
export type AuthenticityCounts = Record<Authenticity, number>;

/** Counts at their beginning. */
export function noAuthenticity(): AuthenticityCounts {
  return { verified: 0, 'declared-unauthenticated': 0, 'wrong-mac': 0, 'no-mac': 0 };
}

/**
 * What is to be said of a key that came out. A wrong `backup_mac` is a flag too: such a key was changed, or written by
 * somebody who does not have the key.
 */
export function flagsOf(overlooked: readonly string[], authenticity?: Authenticity): readonly string[] {
  return authenticity === 'wrong-mac' ? [...overlooked, authenticity] : overlooked;
}

/** Flags that say what follows from the others, and how a reason says it. */
const CONSEQUENCES: Readonly<Record<string, string>> = {
  'unreadable-by-others': 'other implementations cannot read this record',
  'wrong-mac': 'its backup_mac is wrong: somebody without the key wrote it',
};

/** Why a key that came out is listed, for people. */
export function reasonOf(flags: readonly string[]): string {
  const malformed = flags.filter((flag) => !Object.hasOwn(CONSEQUENCES, flag));
  const reasons = malformed.length > 0 ? [`malformed: ${malformed.join(', ')}`] : [];
  for (const flag of flags) if (Object.hasOwn(CONSEQUENCES, flag)) reasons.push(CONSEQUENCES[flag]);
  return reasons.join('; ');
}

/** The counts for people, in a line; nothing where no key has a `backup_mac`, which is so in almost every backup. */
export function authenticityCountsText(authenticity: AuthenticityCounts): string {
  const counts = Object.entries(authenticity).filter(([, count]) => count > 0);
  if (counts.every(([name]) => name === 'no-mac')) return '';
  return `authenticity: ${counts.map(([name, count]) => `${count} ${name}`).join(', ')}\n`;
}

/** {@link authenticityCountsText}, and a warning of wrong ones. */
export function authenticityText(authenticity: AuthenticityCounts): string {
  const wrong = authenticity['wrong-mac'];
  const warning =
    wrong > 0 ? `${wrong} keys carry a wrong backup_mac: somebody without the key wrote them\n` : '';
  return authenticityCountsText(authenticity) + warning;
}
