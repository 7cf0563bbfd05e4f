/**
 * Matrix server-side key backup, algorithm `m.megolm_backup.v1.curve25519-aes-sha2`: the engine, with its batches by
 * the fastest means that the platform has. `megolm-backup/engine` is the same in pure JavaScript only.
 *
 * @packageDocumentation
 */

export * from './engine.js';
export * from './rescue.js';
export { decryptSessions, encryptSessions } from './backends/auto.js';
