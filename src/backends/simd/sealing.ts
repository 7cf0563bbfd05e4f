import { equal, wipe } from '../../encoding/bytes.js';
import { MAC_LENGTH, type ParsedSessionData, type Sealed } from '../../scheme/session-data.js';
import { AesCbc } from './aes-cbc.js';
import { DERIVED, DerivedKeys } from './derived-keys.js';
import type { Kernel } from './kernel.js';

type Ciphertext = Pick<ParsedSessionData, 'ciphertext' | 'mac'>;

/** `seal` and `open` of `scheme/session-data.ts` by a {@link Kernel}, for many shared secrets of 32 bytes each. */
export class Sealing {
  readonly #derivedKeys: DerivedKeys;
  readonly #aesCbc: AesCbc;

  constructor(kernel: Kernel) {
    this.#derivedKeys = new DerivedKeys(kernel);
    this.#aesCbc = new AesCbc(kernel);
  }

  sealMany(sharedSecrets: Uint8Array, plaintexts: readonly Uint8Array[]): Sealed[] {
    const derived = this.#derivedKeys.deriveMany(sharedSecrets);
    const ciphertexts = this.#aesCbc.encryptMany(derived, plaintexts);
    const sealed = ciphertexts.map((ciphertext, slot) => ({
      ciphertext,
      mac: macAt(derived, slot).slice(0, MAC_LENGTH),
    }));
    wipe(derived);
    return sealed;
  }

  openMany(sharedSecrets: Uint8Array, sealed: readonly Ciphertext[]): (Uint8Array | undefined)[] {
    const derived = this.#derivedKeys.deriveMany(sharedSecrets);
    const padded = this.#aesCbc.decryptMany(
      derived,
      sealed.map(({ ciphertext }) => ciphertext),
    );
    const opened = sealed.map(({ mac }, slot) =>
      equal(macAt(derived, slot).subarray(0, mac.length), mac) ? padded[slot] : undefined,
    );
    wipe(derived);
    return opened;
  }
}

function macAt(derived: Uint8Array, slot: number): Uint8Array {
  return derived.subarray(DERIVED * slot + 48, DERIVED * (slot + 1));
}
