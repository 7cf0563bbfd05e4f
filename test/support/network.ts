import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A network between a client and a server on this machine, which a test may cut. */
export interface Network {
  readonly port: number;
  /** Breaks all connections. */
  drop(): void;
  /** Lets no byte through any more, as when a cable is pulled; new connections are taken and never answered. */
  freeze(): void;
  /** Lets bytes through again. */
  thaw(): void;
  stop(): Promise<void>;
}

/** Forwards connections to a port. */
export async function networkTo(port: number): Promise<Network> {
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const server = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      sockets.add(from);
      from.pipe(to);
      if (isFrozen) from.pause();
      from.on('error', () => undefined);
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const drop = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    drop,
    freeze: () => {
      isFrozen = true;
      for (const socket of sockets) socket.pause();
    },
    thaw: () => {
      isFrozen = false;
      for (const socket of sockets) socket.resume();
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve();
        });
        drop();
      }),
  };
}

/** An unused port of this machine, for a program that must be given one. */
export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => {
        resolve(port);
      });
    });
  });
}
