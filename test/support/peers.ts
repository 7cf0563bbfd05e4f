import olm from '@matrix-org/olm';
import * as sdk from '@matrix-org/matrix-sdk-crypto-wasm';

/**
 * The two deployed implementations behind the few calls that interoperation tests need. Objects of their heaps
 * are freed before a call returns.
 */

/** `session_data` as both peers write it. */
export interface PeerSessionData {
  readonly ephemeral: string;
  readonly ciphertext: string;
  readonly mac: string;
}

/** What both peers can do. */
export interface Peer {
  /** For test names. */
  readonly name: string;
  /** Unpadded base64 of the public key of 32 bytes. */
  publicKeyOf(privateKey: Uint8Array): string;
  /** Encrypts a text for a public key in unpadded base64. */
  encrypt(publicKey: string, text: string): PeerSessionData;
  /** The text, or the peer's own exception. */
  decrypt(privateKey: Uint8Array, sessionData: PeerSessionData): string;
}

/** libolm 3.2.15. Its `decrypt` ends at the first U+0000, as its strings do. */
export interface Libolm extends Peer {
  /** What it returns for a text without a recipient. */
  encryptToNobody(text: string): PeerSessionData;
  /** A new megolm session, exported at rising message indexes. */
  megolmSession(...indexes: readonly number[]): MegolmExports;
  /** The unpadded base64 keys of a new device. */
  device(): { readonly curve25519: string; readonly ed25519: string };
  /** Signs with an Ed25519 seed of 32 bytes. */
  sign(seed: Uint8Array, text: string): { readonly publicKey: string; readonly signature: string };
  /** Whether it takes the signature for one; keys and signatures in base64. */
  verifies(publicKey: string, message: string | Uint8Array, signature: string): boolean;
}

/** A megolm session and its exports. */
export interface MegolmExports {
  readonly session_id: string;
  /** One for each index asked for. */
  readonly session_keys: readonly string[];
}

/** vodozemac as matrix-sdk-crypto-wasm 18.9.0 has it; it takes and gives bytes too. */
export interface Vodozemac extends Peer {
  encryptBytes(publicKey: string, plaintext: Uint8Array): PeerSessionData;
  decryptBytes(privateKey: Uint8Array, sessionData: PeerSessionData): Uint8Array;
  /** The way a client goes: `BackupDecryptionKey.decryptV1`. */
  decryptV1(privateKey: Uint8Array, sessionData: PeerSessionData): string;
  /** Whether a new client takes this plaintext out of a backup. It drops what it does not like in silence. */
  importsRecord(roomId: string, sessionId: string, plaintext: string): Promise<boolean>;
  /** Whether a new client takes this entry of a key export. */
  importsEntry(entry: string): Promise<boolean>;
}

/** libolm, ready to use. Loading it puts handlers on the process, which are taken off again. */
export async function libolm(): Promise<Libolm> {
  await (olmReady ??= initOlm());
  return LIBOLM;
}

/** vodozemac, ready to use. */
export async function vodozemac(): Promise<Vodozemac> {
  await sdk.initAsync();
  return VODOZEMAC;
}

let olmReady: Promise<void> | undefined;

async function initOlm(): Promise<void> {
  const before = handlers();
  await olm.init();
  for (const [event, listener] of handlers()) {
    if (!before.some(([, known]) => known === listener)) process.off(event, listener);
  }
}

type Listener = (...values: unknown[]) => void;

/** The handlers of uncaught errors. */
function handlers(): [string, Listener][] {
  return ['uncaughtException', 'unhandledRejection'].flatMap((event) =>
    (process as NodeJS.EventEmitter)
      .listeners(event)
      .map((listener): [string, Listener] => [event, listener as Listener]),
  );
}

interface Freed {
  free(): void;
}

/** Runs `use` on an object of a peer's heap and frees it. */
function using<T extends Freed, R>(object: T, use: (object: T) => R): R {
  try {
    return use(object);
  } finally {
    object.free();
  }
}

const LIBOLM: Libolm = {
  name: 'libolm',
  publicKeyOf: (privateKey) => using(new olm.PkDecryption(), (key) => key.init_with_private_key(privateKey)),
  encrypt: (publicKey, text) =>
    using(new olm.PkEncryption(), (encryption) => {
      encryption.set_recipient_key(publicKey);
      const { ephemeral, ciphertext, mac } = encryption.encrypt(text);
      return { ephemeral, ciphertext, mac };
    }),
  encryptToNobody: (text) =>
    using(new olm.PkEncryption(), (encryption) => {
      const { ephemeral, ciphertext, mac } = encryption.encrypt(text);
      return { ephemeral, ciphertext, mac };
    }),
  decrypt: (privateKey, { ephemeral, ciphertext, mac }) =>
    using(new olm.PkDecryption(), (decryption) => {
      decryption.init_with_private_key(privateKey);
      return decryption.decrypt(ephemeral, mac, ciphertext);
    }),
  megolmSession: (...indexes) =>
    using(new olm.OutboundGroupSession(), (outbound) =>
      using(new olm.InboundGroupSession(), (inbound) => {
        outbound.create();
        inbound.create(outbound.session_key());
        return {
          session_id: inbound.session_id(),
          session_keys: indexes.map((index) => inbound.export_session(index)),
        };
      }),
    ),
  device: () =>
    using(new olm.Account(), (account) => {
      account.create();
      return JSON.parse(account.identity_keys()) as { curve25519: string; ed25519: string };
    }),
  sign: (seed, text) =>
    using(new olm.PkSigning(), (signing) => ({
      publicKey: signing.init_with_seed(seed),
      signature: signing.sign(text),
    })),
  verifies: (publicKey, message, signature) =>
    using(new olm.Utility(), (utility) => {
      try {
        utility.ed25519_verify(publicKey, message, signature);
        return true;
      } catch {
        return false;
      }
    }),
};

const VODOZEMAC: Vodozemac = {
  name: 'vodozemac',
  publicKeyOf: (privateKey) =>
    using(decryption(privateKey), (key) => using(key.publicKey(), (publicKey) => publicKey.toBase64())),
  encrypt: (publicKey, text) => VODOZEMAC.encryptBytes(publicKey, new TextEncoder().encode(text)),
  encryptBytes: (publicKey, plaintext) =>
    using(new sdk.Curve25519PublicKey(publicKey), (key) =>
      using(sdk.PkEncryption.fromKey(key), (encryption) =>
        using(encryption.encrypt(plaintext), (message) =>
          using(message.toBase64(), ({ ephemeralKey: ephemeral, ciphertext, mac }) => ({
            ephemeral,
            ciphertext,
            mac,
          })),
        ),
      ),
    ),
  decrypt: (privateKey, sessionData) =>
    using(decryption(privateKey), (key) =>
      using(message(sessionData), (encrypted) => key.decryptString(encrypted)),
    ),
  decryptBytes: (privateKey, sessionData) =>
    using(decryption(privateKey), (key) =>
      using(message(sessionData), (encrypted) => key.decrypt(encrypted)),
    ),
  decryptV1: (privateKey, { ephemeral, ciphertext, mac }) =>
    using(sdk.BackupDecryptionKey.fromBase64(base64(privateKey)), (key) =>
      key.decryptV1(ephemeral, mac, ciphertext),
    ),
  importsRecord: (roomId, sessionId, plaintext) =>
    imports((machine) => {
      const sessions = new Map<string, unknown>([[sessionId, JSON.parse(plaintext)]]);
      return machine.importBackedUpRoomKeys(
        new Map([[new sdk.RoomId(roomId), sessions]]),
        () => undefined,
        '1',
      );
    }),
  importsEntry: (entry) =>
    imports((machine) => machine.importExportedRoomKeys(`[${entry}]`, () => undefined)),
};

async function imports(
  importInto: (machine: sdk.OlmMachine) => Promise<sdk.RoomKeyImportResult>,
): Promise<boolean> {
  const machine = await sdk.OlmMachine.initialize(new sdk.UserId('@r:example.org'), new sdk.DeviceId('R'));
  try {
    return (await importInto(machine)).importedCount === 1;
  } catch {
    return false;
  } finally {
    machine.close();
  }
}

function decryption(privateKey: Uint8Array): sdk.PkDecryption {
  return using(sdk.Curve25519SecretKey.fromUint8Array(privateKey), (key) => sdk.PkDecryption.fromKey(key));
}

function message({ ephemeral, ciphertext, mac }: PeerSessionData): sdk.PkMessage {
  // The call takes the encoded object over, so there is nothing left to free.
  return sdk.PkMessage.fromBase64(new sdk.Base64EncodedPkMessage(ciphertext, mac, ephemeral));
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64').replace(/=+$/, '');
}
