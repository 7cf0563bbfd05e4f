import Olm from '@matrix-org/olm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PkDecryption, PkEncryption, PkSigning } from '../../src/scheme/olm.js';

/** Each of libolm's objects beside ours, whose results have to be the same. */
describe('the classes of libolm', () => {
  const olds: { free(): void }[] = [];
  const old = <T extends { free(): void }>(object: T): T => {
    olds.push(object);
    return object;
  };
  const bytes = (length: number, value = 7) => new Uint8Array(length).fill(value);

  beforeAll(() => Olm.init());

  afterAll(() => {
    for (const object of olds) object.free();
  });

  /** A result, or the message of the error. */
  function outcome(work: () => unknown): unknown {
    try {
      return work();
    } catch (error) {
      return (error as Error).message;
    }
  }

  it('have the same methods', () => {
    const methods = (type: { prototype: object }) => Object.getOwnPropertyNames(type.prototype).sort();
    expect(methods(PkEncryption)).toEqual(methods(Olm.PkEncryption));
    expect(methods(PkDecryption)).toEqual(methods(Olm.PkDecryption));
    expect(methods(PkSigning)).toEqual(methods(Olm.PkSigning));
  });

  it('derive the same public keys, and give the private key back', () => {
    const [theirs, ours] = [old(new Olm.PkDecryption()), new PkDecryption()];
    expect(ours.init_with_private_key(bytes(32))).toBe(theirs.init_with_private_key(bytes(32)));
    expect(ours.get_private_key()).toEqual(theirs.get_private_key());
    const generated = theirs.generate_key();
    expect(ours.init_with_private_key(theirs.get_private_key())).toBe(generated);
    expect(ours.generate_key()).toMatch(/^[A-Za-z0-9+/]{43}$/);
  });

  it.each(['', 'a', 'héllo 😀', 'x'.repeat(5000), '\ud800x'])('open what the others sealed: %j', (text) => {
    const kinds = [Olm, { PkEncryption, PkDecryption }];
    for (const { PkEncryption } of kinds) {
      for (const { PkDecryption } of kinds) {
        const decryption = old(new PkDecryption());
        const encryption = old(new PkEncryption());
        encryption.set_recipient_key(decryption.generate_key());
        const message = encryption.encrypt(text);
        expect(Object.keys(message)).toEqual(['ciphertext', 'mac', 'ephemeral']);
        const { ephemeral, mac, ciphertext } = message;
        if (text !== '\ud800x') expect(decryption.decrypt(ephemeral, mac, ciphertext)).toBe(text);
      }
    }
  });

  it('refuse the same messages in the same words', () => {
    const theirs = old(new Olm.PkDecryption());
    const encryption = old(new Olm.PkEncryption());
    encryption.set_recipient_key(theirs.generate_key());
    const ours = new PkDecryption();
    ours.init_with_private_key(theirs.get_private_key());
    const { ephemeral, mac, ciphertext } = encryption.encrypt('a room key');
    const changed: [string, string, string][] = [
      [ephemeral, 'AAAAAAAAAAA', ciphertext],
      ['A'.repeat(42) + 'E', mac, ciphertext],
      [ephemeral, mac.slice(0, 6), ciphertext],
      [ephemeral.slice(0, 40), mac, ciphertext],
    ];
    const results = changed.map((fields) => outcome(() => ours.decrypt(...fields)));
    expect(results).toEqual(changed.map((fields) => outcome(() => theirs.decrypt(...fields))));
    expect(new Set(results)).toEqual(new Set(['OLM.BAD_MESSAGE_MAC', 'OLM.INVALID_BASE64']));
    expect(
      outcome(() => {
        new PkEncryption().set_recipient_key('A'.repeat(42));
      }),
    ).toBe(
      outcome(() => {
        old(new Olm.PkEncryption()).set_recipient_key('A'.repeat(42));
      }),
    );
    for (const length of [0, 31]) {
      const short = bytes(length);
      expect(outcome(() => new PkDecryption().init_with_private_key(short))).toBe(
        outcome(() => old(new Olm.PkDecryption()).init_with_private_key(short)),
      );
      expect(outcome(() => new PkSigning().init_with_seed(short))).toBe(
        outcome(() => old(new Olm.PkSigning()).init_with_seed(short)),
      );
    }
  });

  it.each<string | Uint8Array>(['a key', '', bytes(5)])('read each other’s pickles, by %j', (pickleKey) => {
    const [theirs, ours] = [old(new Olm.PkDecryption()), new PkDecryption()];
    const publicKey = theirs.generate_key();
    // libolm overwrites a key of bytes.
    const pickle = theirs.pickle(pickleKey.slice());
    expect(ours.unpickle(pickleKey, pickle)).toBe(publicKey);
    expect(ours.pickle(pickleKey)).toBe(pickle);
    for (const [key, text] of [
      ['another', pickle],
      [pickleKey, pickle.slice(0, -4)],
      [pickleKey, `?${pickle.slice(1)}`],
      [pickleKey, ''],
    ] as const) {
      expect(outcome(() => ours.unpickle(key, text))).toBe('OLM.BAD_ACCOUNT_KEY');
    }
    // What failed left the key as it was.
    expect(ours.pickle(pickleKey)).toBe(pickle);
  });

  it('sign alike', () => {
    const [theirs, ours] = [old(new Olm.PkSigning()), new PkSigning()];
    const seed = ours.generate_seed();
    expect(seed).toHaveLength(32);
    expect(ours.init_with_seed(seed)).toBe(theirs.init_with_seed(seed));
    for (const text of ['', 'héllo', '{"a":1}']) expect(ours.sign(text)).toBe(theirs.sign(text));
  });

  it('read padded base64 too, which libolm does not', () => {
    const decryption = new PkDecryption();
    const encryption = new PkEncryption();
    encryption.set_recipient_key(decryption.generate_key());
    const { ephemeral, mac, ciphertext } = encryption.encrypt('padded');
    expect(decryption.decrypt(`${ephemeral}=`, `${mac}=`, `${ciphertext}==`)).toBe('padded');
  });

  describe('differ where libolm is unsafe', () => {
    it('an object without a key refuses to work, where libolm uses a key of zeros', () => {
      const empty = [
        () => new PkEncryption().encrypt('x'),
        () => new PkDecryption().decrypt('A'.repeat(43), 'A'.repeat(11), 'A'.repeat(22)),
        () => new PkDecryption().get_private_key(),
        () => new PkDecryption().pickle('k'),
        () => new PkSigning().sign('x'),
      ];
      expect(empty.map(outcome)).toEqual(empty.map(() => 'OLM.NOT_INITIALISED'));
    });

    it('a key of small order, a longer key, padding that is wrong and bad UTF-8 are errors', () => {
      const encryption = new PkEncryption();
      const setNothing = () => {
        encryption.set_recipient_key('A'.repeat(43));
      };
      expect(outcome(setNothing)).toBe('OLM.BAD_MESSAGE_FORMAT');
      expect(outcome(() => new PkDecryption().init_with_private_key(bytes(33)))).toMatch(/^OLM\./);
      const decryption = new PkDecryption();
      encryption.set_recipient_key(decryption.generate_key());
      const { ephemeral, mac, ciphertext } = encryption.encrypt('a text that takes two blocks');
      const cut = ciphertext.slice(0, 22);
      expect(outcome(() => decryption.decrypt(ephemeral, mac, cut))).toBe('OLM.BAD_MESSAGE_FORMAT');
    });

    it('free() overwrites the key', () => {
      const decryption = new PkDecryption();
      decryption.generate_key();
      decryption.free();
      expect(outcome(() => decryption.get_private_key())).toBe('OLM.NOT_INITIALISED');
    });
  });
});
