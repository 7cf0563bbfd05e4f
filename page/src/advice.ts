import type { SecretStorageState } from '../../src/secret-storage/key-description.js';
import type { Answer } from './messages.js';

type Refused = Extract<Answer, { kind: 'refused' }>;

/** An error for people: what happened, and what to do next. */
export interface Advice {
  readonly what: string;
  readonly next: string;
  /** Whether the same may succeed later. */
  readonly mayPass?: boolean;
}

const FITS_NOTHING = 'This key or phrase does not open the backup.';
const UNTOUCHED = 'Your backup is untouched, and you can try as often as you like.';
const OWN_KEY =
  'so only the recovery key or passphrase of the backup itself opens it. Is it the right account?';

/** What to do about a key that fits nothing, by what the account has. */
const KEY_FITS_NOTHING: Readonly<Record<SecretStorageState, string>> = {
  unknown:
    'It may be the key of the secret storage. Choose the account data as well: account.json, where the files were ' +
    `saved by “megolm-backup save”. ${UNTOUCHED}`,
  none: `This account has no secret storage, ${OWN_KEY} ${UNTOUCHED}`,
  'no-backup-key': `The secret storage of this account holds no key of a backup, ${OWN_KEY} ${UNTOUCHED}`,
  'backup-key':
    'Look for another recovery key or phrase: in a password manager, in downloads, on paper. An account whose key ' +
    `was changed has more than one. ${UNTOUCHED}`,
};
const CHECK_FILES: Advice = {
  what: 'One of the files is not what this page needs.',
  next: 'Choose the backup and its version, each as it was saved. The details name the file.',
};
const TRY_LATER: Advice = {
  what: 'The homeserver is not answering as it should.',
  next: 'Try again later. If it happens again, show the details to the administrator of the homeserver.',
  mayPass: true,
};

/** By the code of the error. A code that is not here gets the advice for anything else. */
const ADVICE: Readonly<Record<string, Advice>> = {
  'wrong-key': { what: FITS_NOTHING, next: KEY_FITS_NOTHING['backup-key'] },
  'unsupported-algorithm': {
    what: 'This backup is of a kind that this page cannot read.',
    next: 'Use the app that made it. Your backup is untouched.',
  },
  'bad-recovery-key': {
    what: 'This is not a complete recovery key.',
    next:
      'Compare it with your copy: capital and small letters, characters that look alike, a missing group, a part of ' +
      'the line before it.',
  },
  unauthorized: {
    what: 'The homeserver does not accept the access token.',
    next: 'Copy it again as a whole. It ends when you sign out of the app that it comes from.',
  },
  'no-backup': {
    what: 'This account has no key backup.',
    next: 'Is it the right account, and the right homeserver? If you saved the files of a backup, choose those.',
  },
  network: {
    what: 'The homeserver could not be reached.',
    next: 'Check its name and your connection, then try again. Nothing was lost.',
    mayPass: true,
  },
  timeout: {
    what: 'The homeserver took too long to answer.',
    next: 'Check your connection, then try again. Nothing was lost.',
    mayPass: true,
  },
  'rate-limited': {
    what: 'The homeserver asks to wait.',
    next: 'Try again in some minutes. Nothing was lost.',
    mayPass: true,
  },
  'https-only': {
    what: 'The address of the homeserver must begin with https.',
    next: 'With http, anybody on the way could read the access token. Only a server on this computer may use it.',
  },
  'bad-response': TRY_LATER,
  http: TRY_LATER,
  'not-found': TRY_LATER,
  'bad-json': CHECK_FILES,
  'not-json': CHECK_FILES,
  'bad-utf8': CHECK_FILES,
  'missing-field': CHECK_FILES,
  'bad-auth-data': CHECK_FILES,
  'too-large': CHECK_FILES,
  'missing-file': {
    what: 'A file is missing, or holds something else.',
    next:
      'Choose the backup and its version: keys.json and version.json, where the files were saved by “megolm-backup ' +
      'save”. The details say which one was not found.',
  },
  'file-changed': {
    what: 'A file has changed since you chose it.',
    next: 'Choose it again. It may also have been moved, or its drive removed.',
  },
  'bad-parameters': {
    what: 'Something that you entered cannot be used.',
    next: 'The details say what it is.',
  },
};

const ANYTHING_ELSE: Advice = {
  what: 'Something went wrong on this page.',
  next: 'Nothing was lost. Try again, and if it happens again, report the details.',
  mayPass: true,
};

/** What to tell people about an error. */
export function adviceFor({ code, correctable, storage }: Refused): Advice {
  if (correctable !== undefined) {
    return {
      what: 'That does not fit, but something very close does.',
      next: `What fits is ${correctable}.`,
    };
  }
  if (storage !== undefined && code !== 'bad-recovery-key') {
    return { what: FITS_NOTHING, next: KEY_FITS_NOTHING[storage] };
  }
  return ADVICE[code] ?? ANYTHING_ELSE;
}
