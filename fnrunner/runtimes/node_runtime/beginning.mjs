// A runtime that has been started before it is known for which function waits here until that is known.

import { closeSync, readSync } from 'node:fs';

const WAITS = /^fd:(\d+)$/;

// Variables and directory are then as if Node had been started with them.
export async function beginning(env) {
  const match = WAITS.exec(env.AWS_LAMBDA_RUNTIME_API);
  if (!match) {
    return;
  }
  const { warm } = await import('./warming.mjs');
  await warm().catch(() => {});
  const [directory, variables] = JSON.parse(read(Number(match[1])));
  process.chdir(directory);
  for (const name of Object.keys(env)) {
    if (!(name in variables)) {
      delete env[name];
    }
  }
  for (const [name, value] of Object.entries(variables)) {
    if (env[name] !== value) {
      env[name] = value;
    }
  }
}

// Nothing else is to happen here meanwhile.
function read(descriptor) {
  const pieces = [];
  for (;;) {
    const piece = Buffer.allocUnsafe(65536);
    const count = readSync(descriptor, piece);
    if (count === 0) {
      closeSync(descriptor);
      return Buffer.concat(pieces).toString('utf8');
    }
    pieces.push(piece.subarray(0, count));
  }
}
