/** What became of one record, as far as it says something about the key. */
interface Tried {
  readonly ok: boolean;
  /** Of one that failed: whether it could be taken apart. */
  readonly wellFormed?: boolean;
  readonly error?: { readonly code: string };
}

/** Whether a key is that of a backup, as far as the records tell: where every MAC is another's, so is the key. */
export class KeyMatchCounter {
  /** What people mistake for the key of a backup. */
  static readonly LOOKALIKE =
    'the key of the secret storage looks alike but is another one: "rescue" takes either';
  /** How it is said to people. */
  static readonly WRONG_KEY = `the key does not fit this backup: not one of its keys was encrypted to it (wrong-key); ${this.LOOKALIKE}`;
  #telling = 0;
  #mismatched = 0;

  /** Takes in what became of a record. */
  take({ ok, wellFormed = false, error }: Tried): void {
    // An ephemeral key of small order gives the same secret to every key.
    if (ok || (wellFormed && error?.code !== 'low-order-key')) this.#telling++;
    if (!ok && error?.code === 'mac-mismatch') this.#mismatched++;
  }

  /** False when every record that tells anything says no. */
  get fits(): boolean {
    return this.#mismatched === 0 || this.#mismatched < this.#telling;
  }
}
