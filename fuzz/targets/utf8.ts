import { decodePortably, encodePortably, utf8Decode } from '../../src/encoding/utf8.js';
import { claimEqual, type Target } from '../target.js';

const platform = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The portable coder against the platform's. */
export const utf8Target: Target = {
  name: 'utf8',
  reads: 'UTF-8, by the coder for platforms without one',
  words: ['é', '語', '😀', '\ufeff', '\ud7ff', '\ue000'],
  seeds: () => ['', 'aé語😀', Uint8Array.of(0xed, 0xa0, 0x80), Uint8Array.of(0xf4, 0x90, 0x80, 0x80)],
  run(input, seen) {
    const portable = seen.allow(['bad-utf8'], () => decodePortably(input, 'x'));
    const native = seen.allow(['bad-utf8'], () => utf8Decode(input, 'x'));
    claimEqual(portable, native, 'both decoders agree');
    if (!portable) return;
    claimEqual(portable.value, platform.decode(input), 'the text is the platform’s');
    claimEqual(encodePortably(portable.value), input, 'round trip');
  },
};
