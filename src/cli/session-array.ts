import type { Output } from './output.js';

/** A JSON array, one session a line; nothing is written before there is a session, or none at all. */
export class SessionArray {
  readonly #output: Output;
  #separator = '[\n';

  constructor(output: Output) {
    this.#output = output;
  }

  async write(session: unknown): Promise<void> {
    await this.#output.write(`${this.#separator}${JSON.stringify(session)}`);
    this.#separator = ',\n';
  }

  /** Writes the end of the array. */
  async end(): Promise<void> {
    await this.#output.write(this.#separator === ',\n' ? '\n]\n' : '[]\n');
  }
}
