import { isFromCallback, throwIfAborted } from '../async.js';
import { expectOptions } from '../encoding/arguments.js';
import { base64Decode } from '../encoding/base64.js';
import { copyBytes, wipe } from '../encoding/bytes.js';
import { KeyBackupError } from '../errors.js';
import { isJsonObject, ownValue } from '../encoding/json.js';
import { passphraseParameters, type AccountData, type SecretStorageState } from './key-description.js';
import { BackupDecryptionKey } from '../scheme/keys.js';
import {
  AccountSecrets,
  type Attempt,
  type Storage,
  type UnlockedBy,
  type UnlockedKey,
} from './account-secrets.js';
import { findMeantKey, looksLikeKey, looksLikePartOfKey, type Mistake } from './recovery-key-typo.js';
import { keySymbols, pastedKey } from '../scheme/pasted-key.js';
import { MAX_ITERATIONS, deriveKey, derivePassphraseKey, type DeriveOptions } from '../scheme/passphrase.js';
import { passphraseForms, type PassphraseForm } from '../scheme/passphrase-forms.js';
import { caseFault, decodeRecoveryKey } from '../scheme/recovery-key.js';

/** Users hold "a recovery key" or "a passphrase" and cannot know which of four things it is: this tries them all. */

/** What the account has; all of it is optional. */
export interface UnlockOptions extends DeriveOptions {
  /** The `auth_data` of the backup. Without a usable public key in it, the backup's own key cannot be proven. */
  readonly authData?: unknown;
  /** Account data by event type: the secret storage. */
  readonly accountData?: AccountData | undefined;
}

/** The key was found. */
export interface Unlocked extends UnlockedKey {
  readonly ok: true;
}

/** What the user probably meant. It is a secret; ask before using it. */
export interface Suggestion {
  readonly text: string;
  readonly by: UnlockedBy;
  /** What differs from the text given. */
  readonly change: Mistake | PassphraseForm;
}

/**
 * A key that could not be compared, because the `auth_data` has no usable public key. It may be any key: use it only to
 * decrypt records. If it is wrong, every record is a `mac-mismatch`.
 */
export interface UnprovenKey {
  /** What it would be, if right. */
  readonly by: 'backup-decryption-key' | 'backup-passphrase';
  /** The caller disposes of it. */
  readonly key: BackupDecryptionKey;
}

/** Nothing fits, or nothing could be compared. */
export interface NotUnlocked {
  readonly ok: false;
  /** The most precise reason. */
  readonly error: KeyBackupError;
  /** What was tried, and why it failed. */
  readonly tried: readonly Attempt[];
  /** The only key or phrase similar to the text given that fits. */
  readonly suggestion: Suggestion | undefined;
  /** The keys to try on the records: one or two with `unproven-key`, none with any other error. */
  readonly unproven: readonly UnprovenKey[];
}

/** For all rounds of one call: account data could name a thousand keys. */
const MAX_TOTAL_ITERATIONS = 2 * MAX_ITERATIONS;

/**
 * Finds the backup decryption key with what the user holds: the secret storage key or the backup decryption key as text,
 * base64 of either, a security phrase, or the passphrase of a legacy backup.
 *
 * A key is accepted only if it derives the backup's public key, matches the MAC of the storage, or decrypts a stored
 * secret. If the `auth_data` has no usable public key, a possible key of the backup is rejected as `unproven-key` and
 * offered as {@link NotUnlocked.unproven}. A mistyped key is corrected by single substitutions, swaps, omissions and
 * insertions; a wrong phrase is tried in the other forms of {@link PassphraseForm}, each of which costs a derivation. The
 * result is offered as `suggestion`, not used.
 *
 * @param given - What the user typed, or pasted.
 * @returns The key and what `given` was, or why nothing fits.
 * @throws {@link KeyBackupError} `aborted`; `bad-parameters` unless `given` is a string of at most 4096 characters.
 *
 * @example
 * ```ts
 * import { BackupDecryptionKey, createAuthData, unlock } from 'megolm-backup';
 *
 * const key = BackupDecryptionKey.generate();
 * const authData = createAuthData(key.publicKey);
 * const typed = key.toRecoveryKey();
 * const result = await unlock(typed, { authData });
 * console.log(result.ok && result.by); // backup-decryption-key
 *
 * const mistyped = await unlock(typed.slice(0, -1), { authData });
 * if (!mistyped.ok) console.log(mistyped.error.code, mistyped.suggestion?.change); // bad-recovery-key omission
 * ```
 */
export async function unlock(given: string, options: UnlockOptions = {}): Promise<Unlocked | NotUnlocked> {
  if (typeof given !== 'string' || given.length > 4096) {
    throw new KeyBackupError(
      'bad-parameters',
      'key or passphrase: expected a text of at most 4096 characters',
    );
  }
  expectOptions(options);
  if (options.accountData !== undefined) expectOptions(options.accountData, 'accountData');
  throwIfAborted(options.signal);
  return new Search(options).run(given);
}

/** One call of {@link unlock}. */
class Search {
  readonly #options: UnlockOptions;
  readonly #account: AccountSecrets;
  readonly #tried: Attempt[] = [];
  readonly #unproven: { readonly by: UnprovenKey['by']; readonly bytes: Uint8Array }[] = [];
  #iterations = 0;
  /** Why a phrase could be compared with nothing. */
  #incomparable: KeyBackupError | undefined;

  constructor(options: UnlockOptions) {
    this.#options = options;
    this.#account = new AccountSecrets(options.authData, options.accountData);
  }

  async run(given: string): Promise<Unlocked | NotUnlocked> {
    const read = readKey(given);
    try {
      return await this.#search(given, read);
    } finally {
      if ('bytes' in read) wipe(read.bytes);
      wipe(...this.#unproven.map(({ bytes }) => bytes));
    }
  }

  async #search(given: string, read: ReadKey): Promise<Unlocked | NotUnlocked> {
    if ('bytes' in read) {
      const opened = this.#account.open(read.bytes);
      if (opened) return this.#end(opened);
      this.#offer('backup-decryption-key', read.bytes);
    }
    const isKey = 'bytes' in read && read.form === 'text';
    const typo = looksLikeKey(given) ? await this.#searchMistyped(given) : undefined;
    if (isKey || typo) {
      return this.#refusal('bytes' in read ? this.#reasonOfKey() : read.error, typo);
    }
    // Not in the form of a key, so it may be a phrase.
    const found = await this.#tryPhrases(given);
    if (found) return found;
    const suggestion = await this.#searchPhrase(given);
    return this.#refusal(this.#reasonOfPhrase(given, read), suggestion);
  }

  #end(opened: UnlockedKey | Attempt): Unlocked | NotUnlocked {
    if (!('error' in opened)) return { ok: true, ...opened };
    // The key or phrase was right; what it opens was not.
    this.#tried.push(opened);
    return { ok: false, error: opened.error, tried: this.#tried, suggestion: undefined, unproven: [] };
  }

  /** If nothing can be compared, the records will tell. */
  #offer(by: UnprovenKey['by'], bytes: Uint8Array): void {
    if (!this.#account.hasPublicKey) this.#unproven.push({ by, bytes: copyBytes(bytes) });
  }

  #refusal(error: KeyBackupError, suggestion: Suggestion | undefined): NotUnlocked {
    const unproven = this.#unproven.map(({ by, bytes }) => ({
      by,
      key: BackupDecryptionKey.fromBytes(bytes),
    }));
    return {
      ok: false,
      error: unproven.length > 0 ? notProven() : error,
      tried: this.#tried,
      suggestion,
      unproven,
    };
  }

  async #searchMistyped(given: string): Promise<Suggestion | undefined> {
    const meant = await findMeantKey(given, (bytes) => this.#account.fits(bytes), this.#options.signal);
    return meant && { text: meant.text, by: meant.match, change: meant.mistake };
  }

  /** The phrase as security phrase of each storage key, then as passphrase of a legacy backup. */
  async #tryPhrases(phrase: string): Promise<Unlocked | NotUnlocked | undefined> {
    for (const storages of byPassphrase(this.#account.storages)) {
      const found = await this.#attempt('security-phrase', async () => {
        const { salt, iterations } = passphraseParameters(storages[0].description);
        this.#spend(iterations);
        const bytes = await deriveKey(phrase, salt, iterations, this.#options);
        const opened = wiping(bytes, () =>
          this.#account.openStorage(bytes, 'security-phrase', storages, iterations),
        );
        // What can be compared with nothing is not a wrong phrase.
        const reason = opened ? undefined : this.#account.whyIncomparable(storages);
        if (reason) throw (this.#incomparable ??= reason);
        return opened;
      });
      if (found) return found;
    }
    if (!hasPassphrase(this.#options.authData)) return undefined;
    return this.#attempt('backup-passphrase', async () => {
      this.#spend(Number(ownValue(this.#options.authData as never, 'private_key_iterations')));
      const bytes = await derivePassphraseKey(phrase, this.#options.authData, this.#options);
      return wiping(bytes, () => {
        this.#offer('backup-passphrase', bytes);
        return this.#account.openBackup(bytes, 'backup-passphrase');
      });
    });
  }

  async #attempt(
    as: UnlockedBy,
    open: () => Promise<UnlockedKey | Attempt | undefined>,
  ): Promise<Unlocked | NotUnlocked | undefined> {
    try {
      const opened = await open();
      if (opened) return this.#end(opened);
      const isCompared = as !== 'backup-passphrase' || this.#account.hasPublicKey;
      this.#tried.push({ as, error: isCompared ? notThePhrase(as) : notProven() });
    } catch (error) {
      if (!(error instanceof KeyBackupError) || error.code === 'aborted' || isFromCallback(error))
        throw error;
      this.#tried.push({ as, error: error });
    }
    return undefined;
  }

  #spend(iterations: number): void {
    if (this.#iterations + iterations > MAX_TOTAL_ITERATIONS) {
      throw new KeyBackupError(
        'bad-parameters',
        'passphrase: expected at most 20,000,000 rounds for all keys of the account, got more: not tried',
      );
    }
    this.#iterations += iterations;
  }

  async #searchPhrase(phrase: string): Promise<Suggestion | undefined> {
    const tried = this.#tried.length;
    const unproven = this.#unproven.length;
    for (const { text, form } of passphraseForms(phrase)) {
      const found = await this.#tryPhrases(text);
      // Only the text given is reported.
      this.#tried.length = tried;
      wipe(...this.#unproven.splice(unproven).map(({ bytes }) => bytes));
      if (found?.ok === true) {
        found.key.dispose();
        found.storageKey?.dispose();
        found.masterKey?.dispose();
        return { text, by: found.by, change: form };
      }
    }
    return undefined;
  }

  #reasonOfKey(): KeyBackupError {
    return this.#account.malformed ?? fitsNothing(this.#account.state);
  }

  #reasonOfPhrase(given: string, read: ReadKey): KeyBackupError {
    const isKey =
      looksLikeKey(given) || looksLikePartOfKey(given) || caseFault(keySymbols(given)) !== undefined;
    if (isKey) return 'error' in read ? read.error : this.#reasonOfKey();
    const isWrong = this.#tried.some(({ error }) => error.code === 'wrong-passphrase');
    if (isWrong) {
      return new KeyBackupError(
        'wrong-passphrase',
        'expected the account’s security phrase or passphrase, got another',
      );
    }
    const failed = this.#tried.find(({ error }) => error.code !== 'missing-field');
    const error = failed?.error ?? this.#incomparable;
    if (error) return error;
    if ('bytes' in read) return this.#reasonOfKey();
    const reason =
      this.#account.state === 'unknown'
        ? 'the backup has no passphrase, and whether there is a security phrase only the account data tells'
        : 'this account has neither a security phrase nor a passphrase';
    return new KeyBackupError(
      'missing-field',
      `expected a key (48 characters that start with "Es"): ${reason}`,
    );
  }
}

type ReadKey =
  { readonly bytes: Uint8Array; readonly form: 'text' | 'bytes' } | { readonly error: KeyBackupError };

/** The 32 bytes in what was given, where it has the form of a key. */
function readKey(given: string): ReadKey {
  const pasted = pastedKey(given);
  if (pasted?.form === 'base64') return { bytes: base64Decode(pasted.text, 'key'), form: 'bytes' };
  const symbols = given.replace(/[\s\u0085]+/g, '');
  try {
    if (!pasted && symbols.includes(',')) {
      const { key } = BackupDecryptionKey.fromSecret(symbols);
      const bytes = key.toBytes();
      key.dispose();
      return { bytes, form: 'bytes' };
    }
    return { bytes: decodeRecoveryKey(pasted?.text ?? keySymbols(given)), form: 'text' };
  } catch (error) {
    return { error: error as KeyBackupError };
  }
}

/** Uses the bytes of a key, then wipes them. */
function wiping<T>(bytes: Uint8Array, use: () => T): T {
  try {
    return use();
  } finally {
    wipe(bytes);
  }
}

function hasPassphrase(authData: unknown): boolean {
  return isJsonObject(authData) && ownValue(authData, 'private_key_salt') !== undefined;
}

/** What else a key that is not the backup's own might be. */
const REASONS: Readonly<Record<SecretStorageState, string>> = {
  unknown:
    'the backup’s decryption key, got another: whether it is that of a secret storage only the account data tells',
  none: 'the backup’s decryption key, got another: this account has no secret storage',
  'no-backup-key':
    'the backup’s decryption key, got another: the secret storage of this account holds no backup key',
  'backup-key': 'the account’s secret storage key or the backup’s decryption key, got one that fits neither',
};

function fitsNothing(state: SecretStorageState): KeyBackupError {
  return new KeyBackupError('wrong-key', `key: expected ${REASONS[state]}`);
}

/** The storages whose keys a phrase derives alike, together; PBKDF2 is slow. */
function byPassphrase(storages: readonly Storage[]): Iterable<readonly [Storage, ...Storage[]]> {
  const groups = new Map<string, [Storage, ...Storage[]]>();
  for (const storage of storages) {
    const id = JSON.stringify(ownValue(storage.description, 'passphrase') ?? null, [
      'algorithm',
      'salt',
      'iterations',
      'bits',
    ]);
    const group = groups.get(id);
    if (group) group.push(storage);
    else groups.set(id, [storage]);
  }
  return groups.values();
}

function notProven(): KeyBackupError {
  return new KeyBackupError(
    'unproven-key',
    'auth_data: expected a usable public key to compare the key with, got none: only the records tell whether it fits',
  );
}

function notThePhrase(as: UnlockedBy): KeyBackupError {
  return new KeyBackupError('wrong-passphrase', `${as}: expected the one that fits, got another`);
}
