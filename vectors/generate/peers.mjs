/** The two deployed implementations behind the few calls that the generators need. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { decode, encode } from './file.mjs';
import { replacePlatformRandomness } from './random.mjs';

const require = createRequire(import.meta.url);

export const LIBOLM = { name: '@matrix-org/olm', version: require('@matrix-org/olm/package.json').version };
export const VODOZEMAC = {
  name: '@matrix-org/matrix-sdk-crypto-wasm',
  version: versionBeside('@matrix-org/matrix-sdk-crypto-wasm'),
};

/** The version of a package that does not export its package.json. */
function versionBeside(name) {
  return JSON.parse(readFileSync(new URL('package.json', import.meta.resolve(name)), 'utf8')).version;
}

replacePlatformRandomness();

/** libolm itself. Loading it puts handlers on the process, which are taken off again. */
export const Olm = await (async () => {
  const events = ['uncaughtException', 'unhandledRejection'];
  const before = events.map((event) => process.listeners(event));
  const olm = require('@matrix-org/olm');
  await olm.init();
  events.forEach((event, i) => {
    for (const listener of process.listeners(event)) {
      if (!before[i].includes(listener)) process.off(event, listener);
    }
  });
  return olm;
})();

/** matrix-sdk-crypto-wasm itself. */
export const Sdk = await (async () => {
  const sdk = await import('@matrix-org/matrix-sdk-crypto-wasm');
  await sdk.initAsync();
  return sdk;
})();

/** Runs `use` on objects of libolm's heap and frees them. */
export function withOlm(types, use) {
  const objects = types.map((Type) => new Type());
  try {
    return use(...objects);
  } finally {
    for (const object of objects) object.free();
  }
}

export const libolm = {
  encrypt(publicKey, text) {
    return withOlm([Olm.PkEncryption], (encryption) => {
      encryption.set_recipient_key(encode(publicKey));
      const { ephemeral, ciphertext, mac } = encryption.encrypt(text);
      return { ephemeral, ciphertext, mac };
    });
  },
  /** The text, or an exception. */
  decrypt(privateKey, { ephemeral, ciphertext, mac }) {
    return withOlm([Olm.PkDecryption], (decryption) => {
      decryption.init_with_private_key(new Uint8Array(privateKey));
      return decryption.decrypt(ephemeral, mac, ciphertext);
    });
  },
  /** Whether the signature is one. */
  verifies(publicKey, message, signature) {
    return withOlm([Olm.Utility], (utility) => {
      try {
        utility.ed25519_verify(publicKey, message, signature);
        return true;
      } catch {
        return false;
      }
    });
  },
};

export const vodozemac = {
  encrypt(publicKey, bytes) {
    const key = new Sdk.Curve25519PublicKey(encode(publicKey));
    const encryption = Sdk.PkEncryption.fromKey(key);
    const message = encryption.encrypt(bytes);
    const encoded = message.toBase64();
    const { ciphertext, mac, ephemeralKey: ephemeral } = encoded;
    for (const object of [encoded, message, encryption, key]) object.free();
    return { ephemeral, ciphertext, mac };
  },
  /** The bytes, or an exception. */
  decrypt(privateKey, { ephemeral, ciphertext, mac }) {
    const message = Sdk.PkMessage.fromBase64(new Sdk.Base64EncodedPkMessage(ciphertext, mac, ephemeral));
    const decryption = Sdk.PkDecryption.fromKey(
      Sdk.Curve25519SecretKey.fromUint8Array(new Uint8Array(privateKey)),
    );
    try {
      return Buffer.from(decryption.decrypt(message));
    } finally {
      decryption.free();
      message.free();
    }
  },
};

/** Whether a peer decrypts this to anything; an exception of any kind is no. */
export function accepts(peer, privateKey, sessionData) {
  try {
    peer.decrypt(typeof privateKey === 'string' ? decode(privateKey) : privateKey, sessionData);
    return true;
  } catch {
    return false;
  }
}

/** Whether the SDK around vodozemac takes a decrypted room key out of a backup; asked of a new client each time. */
export async function imports(roomId, sessionId, backedUp) {
  const machine = await Sdk.OlmMachine.initialize(
    new Sdk.UserId('@reader:example.org'),
    new Sdk.DeviceId('READER'),
  );
  try {
    const sessions = new Map([[new Sdk.RoomId(roomId), new Map([[sessionId, backedUp]])]]);
    const result = await machine.importBackedUpRoomKeys(sessions, undefined, '1');
    return result.importedCount === 1;
  } catch {
    return false;
  } finally {
    machine.close();
  }
}

/** Signs a text as a client of the SDK does: by its device and by the user's new master key. */
export async function signWithSdk(userId, deviceId, text) {
  const machine = await Sdk.OlmMachine.initialize(new Sdk.UserId(userId), new Sdk.DeviceId(deviceId));
  try {
    await machine.bootstrapCrossSigning(true);
    const signatures = JSON.parse((await machine.sign(text)).asJSON())[userId];
    return { signatures, deviceKey: machine.identityKeys.ed25519.toBase64() };
  } finally {
    machine.close();
  }
}
