import { base64Decode, base64Encode } from '../encoding/base64.js';
import { isCurvePoint } from '../curve25519/edwards.js';
import { KeyBackupError, describe } from '../errors.js';
import { expectString, isJsonObject, ownValue, type JsonObject } from '../encoding/json.js';

/**
 * The fields of a room key that name its sender, and what other implementations demand of them. One unusable field
 * makes them drop a record of a backup in silence, or refuse a whole export file, although the session key is right.
 * So such a field is read with a flag, and mended when a record or an export is written.
 */

/** What is wrong with the sender of a room key. */
export type SenderFlag =
  /** `sender_key` is absent; only salvage reads that. Other implementations drop the record. */
  | 'missing-sender-key'
  /**
   * `sender_claimed_keys` is absent, and taken as `{}`. Clients on libolm read such keys and wrote them; vodozemac takes
   * them from an export file, and drops the record of a backup.
   */
  | 'missing-sender-claimed-keys'
  /** `sender_key` is not canonical base64 of 32 bytes. Only its trailing bits can be mended, which takes no flag. */
  | 'unusable-sender-key'
  /** The claimed keys are not an object of strings, or their `ed25519` is not a point of the curve. `{}` is written. */
  | 'unusable-claimed-key'
  /** The claimed keys have no `ed25519`. Told when an export file is written: matrix-nio refuses the whole file. */
  | 'no-claimed-ed25519'
  /** The chain is not an array, or a key in it is not canonical base64 of 32 bytes. Unusable keys are not written. */
  | 'unusable-forwarding-chain';

/** The sender of a room key. */
export interface SenderFields {
  readonly forwarding_curve25519_key_chain: readonly string[];
  /** Absent only where salvage lets it be. */
  readonly sender_key?: string;
  readonly sender_claimed_keys: ClaimedKeysField;
}

type ClaimedKeysField = Readonly<Record<string, string>>;

/** The sender as it is read: the fields are left as they are. */
export interface ReadSender {
  readonly fields: SenderFields;
  /** A new array. */
  readonly flags: SenderFlag[];
}

/** The sender as it is written: the fields are as every implementation takes them. */
export interface MendedSender extends ReadSender {
  /** How often the key was forwarded: the length of the chain before it was mended. */
  readonly forwardedCount: number;
  /** Why `sender_key`, which is kept, cannot be mended. */
  readonly fault: KeyBackupError | undefined;
}

/** Bounds the memory of {@link checkedKeys} to about 1 MB. An account knows fewer devices. */
const MAX_CHECKED = 8192;

/** Claimed keys that were checked, which takes longer than all other checks of a room key. */
let checkedKeys: Map<string, string | undefined> | undefined;

/** The canonical base64 of an Ed25519 key; `undefined` when it is not 32 bytes or not a point of the curve. */
export function canonicalClaimedKey(text: string): string | undefined {
  checkedKeys ??= new Map();
  const known = checkedKeys.get(text);
  if (known !== undefined || checkedKeys.has(text)) return known;
  const key = keyOf(text);
  const point = key !== undefined && isCurvePoint(base64Decode(key, 'claimed key')) ? key : undefined;
  if (text.length > 64) return point;
  if (checkedKeys.size >= MAX_CHECKED) checkedKeys.clear();
  checkedKeys.set(text, point);
  return point;
}

/**
 * Reads the sender of a room key. What other implementations refuse is flagged.
 *
 * @param salvage - Lets `sender_key` be absent.
 * @throws {@link KeyBackupError} `missing-field`, `bad-json`.
 */
export function readSender(object: JsonObject, field: string, salvage: boolean): ReadSender {
  const flags: SenderFlag[] = [];
  const fields: { -readonly [Name in keyof SenderFields]: SenderFields[Name] } = {
    forwarding_curve25519_key_chain: [],
    sender_claimed_keys: {},
  };
  if (salvage && ownValue(object, 'sender_key') === undefined) flags.push('missing-sender-key');
  else {
    fields.sender_key = expectString(object, 'sender_key', field);
    if (!isSpelling(fields.sender_key, keyOf(fields.sender_key))) flags.push('unusable-sender-key');
  }
  const claimed = ownValue(object, 'sender_claimed_keys');
  // The key decrypts without them: they only say who claims to have sent it.
  if (claimed === undefined) flags.push('missing-sender-claimed-keys');
  else {
    // Almost all are usable, and need no other check.
    const isUsable = usableClaimedKeys(claimed).asGiven;
    fields.sender_claimed_keys = isUsable ? (claimed as ClaimedKeysField) : expectClaimedKeys(claimed, field);
    if (!isUsable) flags.push('unusable-claimed-key');
  }
  const chain = ownValue(object, 'forwarding_curve25519_key_chain');
  // Early clients left it out.
  if (chain !== undefined) {
    fields.forwarding_curve25519_key_chain = expectChain(chain, field);
    if (!usableChain(chain).asGiven) flags.push('unusable-forwarding-chain');
  }
  return { fields, flags };
}

/**
 * Makes the sender of a room key usable to every implementation. Claimed keys become `{}`, keys leave the chain, and
 * base64 is spelt canonically; a flag tells what was lost.
 *
 * @throws {@link KeyBackupError} `missing-field`, `bad-json` for the `sender_key`.
 */
export function mendSender(object: JsonObject, field: string): MendedSender {
  const flags: SenderFlag[] = [];
  const given = expectString(object, 'sender_key', field);
  let sender_key = given;
  let fault: KeyBackupError | undefined;
  try {
    sender_key = canonicalKey(given, `${field}.sender_key`);
  } catch (error) {
    fault = error as KeyBackupError;
    flags.push('unusable-sender-key');
  }
  const claimed = ownValue(object, 'sender_claimed_keys');
  const copy = isJsonObject(claimed) ? { ...claimed } : claimed;
  const { keys: sender_claimed_keys, isWhole } = usableClaimedKeys(copy);
  if (claimed === undefined) flags.push('missing-sender-claimed-keys');
  else if (!isWhole) flags.push('unusable-claimed-key');
  const chain = ownValue(object, 'forwarding_curve25519_key_chain');
  const usable = usableChain(chain);
  if (!usable.isWhole) flags.push('unusable-forwarding-chain');
  const fields = { forwarding_curve25519_key_chain: usable.keys, sender_key, sender_claimed_keys };
  return { fields, flags, forwardedCount: Array.isArray(chain) ? chain.length : 0, fault };
}

function expectClaimedKeys(value: unknown, field: string): ClaimedKeysField {
  const name = `${field}.sender_claimed_keys`;
  if (!isJsonObject(value) || !Object.values(value).every((key) => typeof key === 'string')) {
    const got = isJsonObject(value) ? 'other values in it' : describe(value);
    throw new KeyBackupError('bad-json', `${name}: expected an object of strings, got ${got}`);
  }
  return value as ClaimedKeysField;
}

/** Null reads as empty. */
function expectChain(given: unknown, field: string): readonly string[] {
  const value = given ?? [];
  if (!Array.isArray(value) || !value.every((key) => typeof key === 'string')) {
    const name = `${field}.forwarding_curve25519_key_chain`;
    const got = Array.isArray(value) ? 'other values in it' : describe(value);
    throw new KeyBackupError('bad-json', `${name}: expected an array of strings, got ${got}`);
  }
  return value;
}

/** Keys as every implementation takes them. */
interface Usable<Keys> {
  readonly keys: Keys;
  /** Whether nothing was left out. */
  readonly isWhole: boolean;
  /** Whether they are usable in the spelling that was given. */
  readonly asGiven: boolean;
}

function unusableClaimedKeys(): Usable<ClaimedKeysField> {
  return { keys: {}, isWhole: false, asGiven: false };
}

/** Returns the object itself where nothing has to be changed. */
function usableClaimedKeys(value: unknown): Usable<ClaimedKeysField> {
  if (!isJsonObject(value)) return unusableClaimedKeys();
  for (const name of Object.keys(value)) {
    const key = value[name];
    if (typeof key !== 'string') return unusableClaimedKeys();
    if (name !== 'ed25519' && (hasLoneSurrogate(name) || hasLoneSurrogate(key))) return unusableClaimedKeys();
  }
  const keys = value as ClaimedKeysField;
  if (!Object.hasOwn(keys, 'ed25519')) return { keys, isWhole: true, asGiven: true };
  const { ed25519: given } = keys;
  const ed25519 = canonicalClaimedKey(given);
  if (ed25519 === undefined) return unusableClaimedKeys();
  if (ed25519 === given) return { keys, isWhole: true, asGiven: true };
  return { keys: { ...keys, ed25519 }, isWhole: true, asGiven: isSpelling(given, ed25519) };
}

function usableChain(value: unknown): Usable<readonly string[]> {
  if (value === undefined || (Array.isArray(value) && value.length === 0)) {
    return { keys: [], isWhole: true, asGiven: true };
  }
  if (!Array.isArray(value)) return { keys: [], isWhole: false, asGiven: false };
  const given = Array.from(value as unknown[]);
  const keys = given.map(keyOf);
  const usable = keys.filter((key) => key !== undefined);
  const asGiven = keys.every((key, i) => isSpelling(given[i], key));
  return { keys: usable, isWhole: usable.length === keys.length, asGiven };
}

/** Whether a text is its canonical base64, padded or not: other implementations take both. */
function isSpelling(text: unknown, canonical: string | undefined): boolean {
  return canonical !== undefined && typeof text === 'string' && text.startsWith(canonical);
}

/** The canonical base64 of 32 bytes, `undefined` for anything else. */
function keyOf(text: unknown): string | undefined {
  try {
    return canonicalKey(text, 'key');
  } catch {
    return undefined;
  }
}

/** 43 characters, the two bits behind the last byte zero. */
const CANONICAL = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]$/;

/** Base64 of 32 bytes in its one canonical form: other implementations refuse set bits behind the last byte. */
function canonicalKey(text: unknown, field: string): string {
  // Almost every key is canonical, and need not be decoded.
  if (typeof text === 'string' && CANONICAL.test(text)) return text;
  const bytes = typeof text === 'string' && text.length > 64 ? undefined : base64Decode(text, field);
  if (bytes?.length !== 32) {
    const got = bytes ? `${bytes.length} bytes` : 'more';
    throw new KeyBackupError('bad-length', `${field}: expected base64 of 32 bytes, got ${got}`);
  }
  return base64Encode(bytes);
}

/** Whether a text is not Unicode: parsers of other implementations give up on it. */
export function hasLoneSurrogate(text: string): boolean {
  return /[\ud800-\udfff]/u.test(text);
}
