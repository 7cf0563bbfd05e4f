/// <reference lib="esnext.disposable" preserve="true" />

/** `Symbol.dispose`, for `using`; a symbol of its own on a runtime that does not have it yet. */
export const DISPOSE: typeof Symbol.dispose =
  (Symbol as { readonly dispose?: typeof Symbol.dispose }).dispose ??
  (Symbol.for('Symbol.dispose') as typeof Symbol.dispose);
