/** What applications have besides Hermes, as far as the package or the suite needs it. To be imported first. */

// The shell's timers do not wait.
const post = globalThis.setTimeout;
globalThis.setTimeout = (callback, milliseconds = 0) => {
  const timer = { due: Date.now() + milliseconds, cancelled: false };
  const look = () => {
    if (timer.cancelled) return;
    if (Date.now() >= timer.due) callback();
    else post(look, 0);
  };
  post(look, 0);
  return timer;
};
globalThis.clearTimeout = (timer) => {
  if (timer) timer.cancelled = true;
};

class Signal {
  aborted = false;
  reason = undefined;
  #listeners = new Set();

  addEventListener(_, listener) {
    this.#listeners.add(listener);
  }

  removeEventListener(_, listener) {
    this.#listeners.delete(listener);
  }

  abort(reason) {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    for (const listener of this.#listeners) listener();
  }
}

globalThis.AbortController ??= class {
  signal = new Signal();

  abort(reason = new Error('aborted')) {
    this.signal.abort(reason);
  }
};

// An application takes a polyfill over the system's generator. These bytes protect nothing.
globalThis.crypto ??= {
  getRandomValues(bytes) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(256 * Math.random());
    return bytes;
  },
};
