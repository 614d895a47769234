// Makes Node load and compile what the first invocation needs of it: loading a module, asking the Runtime API.

import { once } from 'node:events';
import { createRequire } from 'node:module';
import net from 'node:net';
import { setImmediate } from 'node:timers/promises';

import { Api } from './api.mjs';
import { makeContext } from './context.mjs';
import { Log } from './log.mjs';

const ANSWER = 'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}';
const MODULE = './blank.js';
const TURNS = 100;

// Nothing of it stays: no module, no connection, no handle.
export async function warm() {
  // a socket that closes asks whether it is this one, and would make it
  const stderr = Object.getOwnPropertyDescriptor(process, 'stderr');
  Object.defineProperty(process, 'stderr', { configurable: true, value: undefined });
  try {
    await load();
    await ask();
    for (let turn = 0; turn < TURNS && process.getActiveResourcesInfo().length; turn += 1) {
      await setImmediate();
    }
  } finally {
    Object.defineProperty(process, 'stderr', stderr);
  }
}

async function load() {
  await import(MODULE);
  const require = createRequire(import.meta.url);
  delete require.cache[require.resolve(MODULE)];
  new Log('Text').line('INFO', [{}]);
  makeContext({}, {}, {}).getRemainingTimeInMillis();
}

async function ask() {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write(ANSWER));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const api = new Api(`127.0.0.1:${server.address().port}`);
  try {
    await api.error('none', { errorType: 'none' });
    await api.response('none', 'null');
    // that status is no answer to it
    await api.next().catch(() => {});
  } finally {
    api.close();
    server.close();
  }
  await once(server, 'close');
}
