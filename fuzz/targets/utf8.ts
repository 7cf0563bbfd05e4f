import { __TESTS } from '@scure/base';
import { utf8Decode } from '../../src/encoding/utf8.js';
import { claimEqual, type Target } from '../target.js';

const platform = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const portableCoder = __TESTS.utf8Fallback;

/** The coder for platforms without TextDecoder against the platform's. */
export const utf8Target: Target = {
  name: 'utf8',
  reads: 'UTF-8, by the coder for platforms without TextDecoder',
  words: ['é', '語', '😀', '\ufeff', '\ud7ff', '\ue000'],
  seeds: () => ['', 'aé語😀', Uint8Array.of(0xed, 0xa0, 0x80), Uint8Array.of(0xf4, 0x90, 0x80, 0x80)],
  run(input, seen) {
    const portable = decodePortably(input);
    const native = seen.allow(['bad-utf8'], () => utf8Decode(input, 'x'));
    claimEqual(portable, native?.value, 'both decoders agree');
    if (portable === undefined) return;
    claimEqual(portable, platform.decode(input), 'the text is the platform’s');
    claimEqual(portableCoder.decode(portable), input, 'round trip');
  },
};

function decodePortably(bytes: Uint8Array): string | undefined {
  try {
    return portableCoder.encode(bytes);
  } catch {
    return undefined;
  }
}
