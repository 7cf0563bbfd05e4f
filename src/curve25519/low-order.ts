/**
 * The points of small order on Curve25519 and its twist, by their reduced u. An agreement with one of them is
 * all zero whatever the private key: everybody knows the "secret".
 */

const PRIME = (1n << 255n) - 19n;

const LOW_ORDER: readonly bigint[] = [
  0n,
  1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
  PRIME - 1n,
];

/** Whether a 32-byte u, canonical or not, with or without bit 255, is a point of small order. */
export function isLowOrder(publicKey: Uint8Array): boolean {
  let u = 0n;
  for (let i = 31; i >= 0; i--) u = (u << 8n) | BigInt(i === 31 ? publicKey[i] & 0x7f : publicKey[i]);
  return LOW_ORDER.includes(u % PRIME);
}
