import { expect, test } from 'vitest';
import { PlaceFilter } from '../../src/server/sqlite-place-filter.js';

const session = (i: number): string => `${i}+${(i * 2654435761).toString(36)}`;

test('is sure of nothing in a room that was there before', () => {
  const filter = new PlaceFilter();
  filter.add(1, 'a');
  expect(filter.isAbsent(1, 'b')).toBe(false);
  filter.roomMade(2);
  expect(filter.isAbsent(1, 'b')).toBe(false);
  expect(filter.isAbsent(2, 'b')).toBe(true);
  filter.forget();
  expect(filter.isAbsent(2, 'b')).toBe(false);
});

test('holds all of many keys, and takes hardly any other for one of them', () => {
  const filter = new PlaceFilter();
  for (const room of [1, 2, 3]) filter.roomMade(room);
  const KEYS = 300_000;
  for (let i = 0; i < KEYS; i++) filter.add(1 + (i % 2), session(i));
  let [lost, mistaken] = [0, 0];
  for (let i = 0; i < KEYS; i++) {
    if (filter.isAbsent(1 + (i % 2), session(i))) lost++;
    if (!filter.isAbsent(3, session(i))) mistaken++;
    if (!filter.isAbsent(2 - (i % 2), session(i))) mistaken++;
  }
  expect(lost).toBe(0);
  // Four filters, of which each is wrong about one in 400.
  expect(mistaken / KEYS / 2).toBeLessThan(0.012);
});

test('gives up where there are more keys than it has memory for', () => {
  const filter = new PlaceFilter();
  filter.roomMade(1);
  const KEYS = 2 ** 21 - 2 ** 15;
  for (let i = 0; i < KEYS; i++) filter.add(1, `${i}`);
  expect(filter.isAbsent(1, 'none of them')).toBe(true);
  filter.add(1, 'one too many');
  expect(filter.isAbsent(1, 'none of them')).toBe(false);
  filter.roomMade(2);
  expect(filter.isAbsent(2, 'none of them')).toBe(true);
});

test('gives up where there are too many rooms', () => {
  const filter = new PlaceFilter();
  for (let room = 0; room < 100_000; room++) filter.roomMade(room);
  expect(filter.isAbsent(0, 'a')).toBe(true);
  filter.roomMade(100_000);
  expect(filter.isAbsent(0, 'a')).toBe(false);
  expect(filter.isAbsent(100_000, 'a')).toBe(true);
});
