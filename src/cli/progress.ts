import type { Terminal } from './terminal.js';

const INTERVAL = 200;

/** A line on the terminal that says how far it is, how fast, and how long it will take; nowhere else. */
export class ProgressLine {
  readonly #terminal: Terminal;
  readonly #started = Date.now();
  #printed = 0;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  /**
   * @param keys - Keys done so far.
   * @param share - Share of the whole, 0 to 1; `undefined` where nobody knows it.
   */
  update(keys: number, share: number | undefined): void {
    const now = Date.now();
    if (!this.#terminal.isTerminal || now - this.#printed < INTERVAL) return;
    this.#printed = now;
    const seconds = Math.max((now - this.#started) / 1000, 0.001);
    const rate = `${Math.round(keys / seconds)} keys/s`;
    const left = share === undefined || share <= 0 ? '' : `, ${clock((seconds * (1 - share)) / share)} left`;
    const percent = share === undefined ? '' : `${Math.floor(100 * share)} % `;
    this.#terminal.progress(`${percent}${keys} keys, ${rate}${left}`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#printed > 0) this.#terminal.progress('');
  }
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}
