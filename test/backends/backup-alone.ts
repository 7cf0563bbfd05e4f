/** What backing up and restoring takes, without the neighbouring formats: keys, auth_data and batches. */
export * from '../../src/engine/auth-data.js';
export * from '../../src/engine/batch.js';
export * from '../../src/engine/keys.js';
export * from '../../src/engine/session-data-batch.js';
export * from '../../src/engine/session-data.js';
