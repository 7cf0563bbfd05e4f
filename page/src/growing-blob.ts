/** Characters that are held as text. */
const HELD = 4 * 1024 * 1024;

/** A text that the browser keeps outside the worker's heap. Joined now and then, since each blob has its cost. */
export class GrowingBlob {
  #blob: Blob;
  #pieces: string[] = [];
  #length = 0;

  constructor(beginning = new Blob([])) {
    this.#blob = beginning;
  }

  append(piece: string): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length >= HELD) this.#join();
  }

  get isEmpty(): boolean {
    return this.#blob.size === 0 && this.#pieces.length === 0;
  }

  whole(type = ''): Blob {
    this.#join();
    return this.#blob.slice(0, this.#blob.size, type);
  }

  #join(): void {
    // One string instead of thousands: each part of a blob has its cost too.
    this.#blob = new Blob([this.#blob, this.#pieces.join('')]);
    this.#pieces = [];
    this.#length = 0;
  }
}

/** The bytes of a file, or of what was kept. */
export async function* chunksOf(blob: Blob): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = blob.stream().getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}
