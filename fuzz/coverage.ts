import { Session, type Profiler } from 'node:inspector';

/**
 * Which code has run, by V8's own block coverage: what libFuzzer learns from instrumented code, without a native
 * addon. Asking costs some milliseconds, so it is asked for many inputs together.
 */
export class Coverage {
  readonly #session = new Session();
  /** Names the script that is looked at: the bundle of this program, targets and library together. */
  readonly #url: RegExp;
  /** 1 for every character of the script that has run. */
  #ran = new Uint8Array(0);
  #now = new Uint8Array(0);

  constructor(url: RegExp) {
    this.#url = url;
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** How many characters of code have run. */
  get size(): number {
    return this.#ran.reduce((sum, one) => sum + one, 0);
  }

  /** Whether code has run since the last call that had not run before. */
  grew(remember = true): boolean {
    let grown = false;
    for (const { functions } of this.#take()) {
      this.#paint(functions);
      for (let i = 0; i < this.#now.length && !(grown && !remember); i++) {
        if (this.#now[i] > this.#ran[i]) {
          grown = true;
          if (remember) this.#ran[i] = 1;
        }
      }
    }
    return grown;
  }

  stop(): void {
    this.#session.disconnect();
  }

  #take(): Profiler.ScriptCoverage[] {
    let taken: Profiler.ScriptCoverage[] = [];
    // Within one thread the answer is there before the call returns.
    this.#session.post('Profiler.takePreciseCoverage', (error, { result }) => {
      if (error) throw error;
      taken = result.filter(({ url }) => this.#url.test(url));
    });
    return taken;
  }

  /** Outer ranges come before those inside them, so that the last word is the most precise one. */
  #paint(functions: readonly Profiler.FunctionCoverage[]): void {
    const end = Math.max(...functions.flatMap(({ ranges }) => ranges.map(({ endOffset }) => endOffset)));
    if (end > this.#ran.length) {
      const longer = new Uint8Array(end);
      longer.set(this.#ran);
      this.#ran = longer;
      this.#now = new Uint8Array(end);
    }
    this.#now.fill(0);
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) {
        this.#now.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      }
    }
  }
}
