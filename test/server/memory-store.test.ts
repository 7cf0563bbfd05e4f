import { storeContract } from '../contracts/store.js';
import { createMemoryStore } from '../support/memory-store.js';

storeContract('the model itself', () =>
  Promise.resolve({ store: createMemoryStore(), stop: () => Promise.resolve() }),
);
