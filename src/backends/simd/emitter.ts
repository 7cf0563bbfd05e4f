/**
 * A small assembler of WebAssembly. A function here takes addresses and counts, gives nothing back, and its only jump is
 * a loop that counts down; so what can depend on data is the data in memory and nothing else.
 */

/** What leaves one value on the stack: bytes, or operands and then bytes. */
export type Code = readonly (number | Code)[];

/** The types of values. */
export const I32 = 0x7f;
export const V128 = 0x7b;
type ValueType = typeof I32 | typeof V128;

/** A number from 0 to 2^31 - 1 in LEB128. */
function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...leb(value >> 7)];
}

function operation(...opcode: number[]): (...operands: Code[]) => Code {
  return (...operands) => [...operands, ...opcode];
}

function vectorOperation(opcode: number): (...operands: Code[]) => Code {
  return operation(0xfd, ...leb(opcode));
}

/** A number from 0 to 2^31 - 1. Its encoding is signed: a last byte above 63 would make it negative. */
export function i32(value: number): Code {
  const bytes = leb(value);
  const last = bytes[bytes.length - 1];
  return last < 64 ? [0x41, ...bytes] : [0x41, ...bytes.slice(0, -1), last | 128, 0];
}

export const i32Add = operation(0x6a);
export const i32Subtract = operation(0x6b);
export const i32And = operation(0x71);
export const i32Xor = operation(0x73);
export const i32ShiftLeft = operation(0x74);
export const i32ShiftRight = operation(0x76);

// In both lanes of two doubles.
export const add = vectorOperation(0xf0);
export const subtract = vectorOperation(0xf1);
export const multiply = vectorOperation(0xf2);
/** a b + c. It is rounded once or twice, as the processor likes: see `isFused` of the kernel. */
export const multiplyAdd = vectorOperation(0x107);
/** All bits of a lane, or no bit. */
export const isEqual = vectorOperation(0x47);
export const and = vectorOperation(0x4e);

// In sixteen lanes of bytes.
export const addI8 = vectorOperation(0x6e);
/** All bits of a lane where the first is less than the second, as signed numbers. */
export const isLessI8 = vectorOperation(0x25);
/** The bytes of the first at the indices of the second, and 0 for indices from 128 on. From 16 to 127 it depends on the processor. */
export const swizzle = vectorOperation(0x100);

// In four lanes of 32-bit integers.
export const addI32 = vectorOperation(0xae);
export const xor = vectorOperation(0x51);
const or = vectorOperation(0x50);
const shiftLeftI32 = vectorOperation(0xab);
export const shiftRightI32 = vectorOperation(0xad);
/** Bits of the first where the mask has a one, else of the second. */
export const select = vectorOperation(0x52);

export function rotateRight(x: Code, bits: number): Code {
  return or(shiftRightI32(x, i32(bits)), shiftLeftI32(x, i32(32 - bits)));
}

const splatI32 = vectorOperation(0x11);
const replaceSecondI32 = operation(0xfd, 0x1c, 1);
const fromI32 = vectorOperation(0xfe);

/** Two whole numbers as doubles, one in each lane. */
export function doubles(first: Code, second: Code): Code {
  return fromI32(replaceSecondI32(splatI32(first), second));
}

/** Two doubles. */
export function load(address: Code, offset: number): Code {
  return [address, 0xfd, 0x00, 4, ...leb(offset)];
}

/** One double, in both lanes. */
export function loadSplat(address: Code, offset: number): Code {
  return [address, 0xfd, 0x0a, 3, ...leb(offset)];
}

/** One 32-bit integer, in all four lanes. */
export function loadSplatI32(address: Code, offset: number): Code {
  return [address, 0xfd, 0x09, 2, ...leb(offset)];
}

export function loadByte(address: Code, offset = 0): Code {
  return [address, 0x2d, 0, ...leb(offset)];
}

function variable(index: number): Code {
  return [0x20, ...leb(index)];
}

/** A function that is being written. */
export class FunctionBuilder {
  readonly #parameters: number;
  readonly #locals: ValueType[] = [];
  readonly #bytes: number[] = [];

  constructor(parameters: number) {
    this.#parameters = parameters;
  }

  /** A new variable with a value. The result reads it. */
  let(type: ValueType, value: Code): Code {
    const read = variable(this.#parameters + this.#locals.push(type) - 1);
    this.set(read, value);
    return read;
  }

  set([, ...index]: Code, value: Code): void {
    this.#write(value, 0x21, index);
  }

  /** Moves an address. */
  advance(address: Code, bytes: number): void {
    this.set(address, (bytes < 0 ? i32Subtract : i32Add)(address, i32(Math.abs(bytes))));
  }

  store(address: Code, offset: number, value: Code): void {
    this.#write(address, value, 0xfd, 0x0b, 4, leb(offset));
  }

  /** Does what `body` writes `count` times, at least once. `left` reads how often it will be done after this time. */
  repeat(count: Code, body: (left: Code) => void): void {
    const left = this.let(I32, count);
    this.#write(0x03, 0x40);
    this.advance(left, -1);
    body(left);
    this.#write(left, 0x0d, 0x00, 0x0b);
  }

  code(): Code {
    return sized([list(this.#locals.map((type) => [1, type])), this.#bytes, 0x0b]);
  }

  #write(...code: Code): void {
    append(this.#bytes, code);
  }
}

/** Adds the bytes of an expression. Much faster than `flat` and spreading. */
function append(bytes: number[], code: Code): void {
  for (const part of code) {
    if (typeof part === 'number') bytes.push(part);
    else append(bytes, part);
  }
}

function sized(code: Code): Code {
  const bytes: number[] = [];
  append(bytes, code);
  return [...leb(bytes.length), bytes];
}

function list(items: readonly Code[]): Code {
  return [...leb(items.length), items];
}

/** A module of functions over one memory, which it exports as `memory`. */
export class ModuleBuilder {
  readonly #types: Code[] = [];
  readonly #exports: Code[] = [exported('memory', 2, 0)];
  readonly #bodies: Code[] = [];

  /** Adds a function that is exported by its name. */
  add(name: string, parameters: number, write: (f: FunctionBuilder, ...parameters: Code[]) => void): void {
    const body = new FunctionBuilder(parameters);
    write(body, ...Array.from({ length: parameters }, (_, index) => variable(index)));
    const index = this.#bodies.push(body.code()) - 1;
    this.#types.push([0x60, list(Array.from({ length: parameters }, () => [I32])), 0]);
    this.#exports.push(exported(name, 0, index));
  }

  /** The module. Its memory has a fixed size, in units of 64 KiB. */
  bytes(pages: number): Uint8Array {
    const section = (id: number, items: readonly Code[]) => [id, sized(list(items))];
    const indices = this.#types.map((_, index) => leb(index));
    const bytes: number[] = [];
    append(bytes, [
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(1, this.#types),
      section(3, indices),
      section(5, [[1, ...leb(pages), ...leb(pages)]]),
      section(7, this.#exports),
      section(10, this.#bodies),
    ]);
    return Uint8Array.from(bytes);
  }
}

function exported(name: string, kind: number, index: number): Code {
  const letters = Array.from(name, (letter) => letter.charCodeAt(0));
  return [sized(letters), kind, ...leb(index)];
}
