import { vi } from 'vitest';

type AnyArray = Uint8Array | Int32Array | Float64Array;

/**
 * Every typed array that is made while a function runs: by a constructor, by `from` or `of`, or as a slice of
 * another. Memory that is made before, tables for instance, is not among them.
 */
export async function allocations(run: () => unknown): Promise<AnyArray[]> {
  const made: AnyArray[] = [];
  const note = <T extends AnyArray>(array: T): T => {
    made.push(array);
    return array;
  };
  const watch = (name: string, original: object) =>
    vi.stubGlobal(
      name,
      new Proxy(original, {
        construct: (target, args) =>
          note(new (target as new (...args: unknown[]) => AnyArray)(...(args as unknown[]))),
        get(target, property, receiver) {
          const value = Reflect.get(target, property, receiver) as unknown;
          if (property !== 'from' && property !== 'of') return value;
          return (...args: unknown[]) => note(Reflect.apply(value as () => AnyArray, target, args));
        },
      }),
    );
  type Slice = (this: Uint8Array, start?: number, end?: number) => Uint8Array<ArrayBuffer>;
  const slice = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'slice')
    ?.value as Slice;
  const spy = vi.spyOn(Uint8Array.prototype, 'slice').mockImplementation(function (
    this: Uint8Array,
    ...args
  ) {
    return note(slice.apply(this, args));
  });
  watch('Uint8Array', Uint8Array);
  watch('Int32Array', Int32Array);
  watch('Float64Array', Float64Array);
  try {
    await run();
  } finally {
    vi.unstubAllGlobals();
    spy.mockRestore();
  }
  return made;
}

/** How many of these arrays hold these bytes in a row. */
export function holding(arrays: readonly AnyArray[], bytes: Uint8Array): number {
  const wanted = Buffer.from(bytes);
  return arrays.filter(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength).includes(wanted),
  ).length;
}
