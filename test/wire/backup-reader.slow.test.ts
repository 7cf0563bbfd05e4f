import { expect, it } from 'vitest';
import { BackupReader } from '../../src/wire/backup-reader.js';

/** How much memory the reader takes, whatever a server sends. */

const encoder = new TextEncoder();

it('keeps no more than one record and the ids, however large a value is', () => {
  const reader = new BackupReader({ maxRecordBytes: 1000 });
  reader.push(encoder.encode('{"rooms":{"!r":{"sessions":{"big":"'));
  const before = process.memoryUsage().arrayBuffers;
  const chunk = new Uint8Array(1 << 16).fill(0x78);
  for (let i = 0; i < 1600; i++) expect(reader.push(chunk)).toEqual([]);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20e6);
  const items = reader.push(encoder.encode('","next":1}}}}'));
  expect(items.map((item) => item.error?.code)).toEqual(['too-large', undefined]);
  reader.end();
});

it('keeps a digest of every room, not its id, and few of the other fields', () => {
  const reader = new BackupReader();
  const long = 'x'.repeat(3000);
  reader.push(encoder.encode('{'));
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 30_000; i++) reader.push(encoder.encode(`"${i}${long}":"${long}",`));
  expect(reader.fields.size).toBe(16);
  reader.push(encoder.encode('"rooms":{'));
  for (let i = 0; i < 30_000; i++) reader.push(encoder.encode(`"${i}${long}":{"sessions":{}},`));
  // Kept, the fields would be 180 MB and the ids 90 MB; what the collector has not taken yet is less.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(60e6);
  const items = reader.push(encoder.encode(`"7${long}":{"sessions":{}}}}`));
  expect(items.map(({ room_id, error }) => [room_id, error?.code])).toEqual([[`7${long}`, 'bad-json']]);
  reader.end();
});
