/**
 * Says of some places that no key stands there, without asking the index: those in rooms that this process made, whose
 * keys it has all seen.
 *
 * A new backup is filled by its client in one go, and none of these keys is there yet. To find that out in an index as
 * large as the file takes longer than to store them. What was seen is kept in Bloom filters, two bytes for each key.
 */
export class PlaceFilter {
  /** Rooms of which every key was seen. */
  readonly #rooms = new Set<number>();
  #filters: Bits[] = [];

  /** A room was made just now, so no key is in it; nor is one where that is undone, and the id comes again. */
  roomMade(room: number): void {
    if (this.#rooms.size >= MOST_ROOMS) this.forget();
    this.#rooms.add(room);
  }

  /** A key is in a room. */
  add(room: number, sessionId: string): void {
    if (!this.#rooms.has(room)) return;
    let last = this.#filters.at(-1);
    if (!last || last.left === 0) {
      const places = 2 * (last?.places ?? FEWEST_PLACES / 2);
      if (places > MOST_PLACES) {
        this.forget();
        return;
      }
      // A larger one beside those that are full: what went into them is not known any more.
      this.#filters.push((last = new Bits(places)));
    }
    last.add(hashOf(room, sessionId));
  }

  /** Whether it is sure that no such key is there. */
  isAbsent(room: number, sessionId: string): boolean {
    if (!this.#rooms.has(room)) return false;
    const hash = hashOf(room, sessionId);
    return !this.#filters.some((bits) => bits.mayHold(hash));
  }

  /** Keys may have come of which nothing was told. */
  forget(): void {
    this.#rooms.clear();
    this.#filters = [];
  }
}

/** The filters of fewer than 2,097,152 keys together take 4 MB. */
const MOST_PLACES = 2 ** 20;
const FEWEST_PLACES = 2 ** 15;
const MOST_ROOMS = 100_000;
const BITS_PER_PLACE = 16;
const BITS_SET = 4;

/** A Bloom filter for so many places, a power of two: one in 400 of all others seems to be there. */
class Bits {
  readonly places: number;
  left: number;
  readonly #words: Uint32Array;
  readonly #mask: number;

  constructor(places: number) {
    this.places = this.left = places;
    this.#words = new Uint32Array((places * BITS_PER_PLACE) / 32);
    this.#mask = places * BITS_PER_PLACE - 1;
  }

  add([start, step]: Hash): void {
    this.left--;
    for (let i = 0, at = start; i < BITS_SET; i++, at += step) {
      const bit = at & this.#mask;
      this.#words[bit >>> 5] |= 1 << (bit & 31);
    }
  }

  mayHold([start, step]: Hash): boolean {
    for (let i = 0, at = start; i < BITS_SET; i++, at += step) {
      const bit = at & this.#mask;
      if ((this.#words[bit >>> 5] & (1 << (bit & 31))) === 0) return false;
    }
    return true;
  }
}

type Hash = readonly [start: number, step: number];

/** Two hashes of a place. Whoever finds places that have the same ones makes his own writes a little slower. */
function hashOf(room: number, sessionId: string): Hash {
  let start = room | 0;
  let step = ~room;
  for (let i = 0; i < sessionId.length; i++) {
    const unit = sessionId.charCodeAt(i);
    start = Math.imul(start ^ unit, 0x01000193);
    step = Math.imul(step ^ unit, 0x85ebca6b);
  }
  // High bits of a product depend on all that came before, low ones hardly on anything.
  return [start ^ (start >>> 15), (step ^ (step >>> 15)) | 1];
}
