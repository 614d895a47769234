// awslambda.streamifyResponse and awslambda.HttpResponseStream: an answer that is sent while it is made.

import { Writable, finished } from 'node:stream';
import { promisify } from 'node:util';

export const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const DEFAULT_TYPE = 'application/octet-stream';
const HTTP_TYPE = 'application/vnd.awslambda.http-integration-response';
const SEPARATOR = Buffer.alloc(8);
const finishing = promisify(finished);

export class ResponseStream extends Writable {
  #api;
  #requestId;
  #contentType = DEFAULT_TYPE;
  #prelude = null;
  #sending = null;

  constructor(api, requestId) {
    super({ highWaterMark: 64 * 1024, decodeStrings: true });
    this.#api = api;
    this.#requestId = requestId;
    this.on('error', () => {}); // told by complete(), also when the handler does not listen
  }

  setContentType(contentType) {
    if (this.#sending) {
      throw new Error('Cannot set content-type, too late.');
    }
    this.#contentType = String(contentType);
  }

  setPrelude(prelude) {
    this.setContentType(HTTP_TYPE);
    this.#prelude = Buffer.concat([Buffer.from(JSON.stringify(prelude)), SEPARATOR]);
  }

  // As on Lambda, what is neither text nor bytes is written as JSON.
  write(chunk, encoding, callback) {
    const plain = typeof chunk === 'string' || chunk instanceof Uint8Array;
    return super.write(plain ? chunk : JSON.stringify(chunk), encoding, callback);
  }

  _write(chunk, _, callback) {
    this.#begin();
    this.#sending.request.write(chunk, callback);
  }

  _final(callback) {
    this.#begin();
    this.#held(true);
    this.#sending.request.end();
    this.#sending.done.then(() => callback(), callback);
  }

  // Resolves when the handler's stream has ended and is sent. A handler may return before: what it left to do goes on,
  // and the stream ends when nothing is left. The connection alone is nothing to wait for.
  async complete() {
    if (!this.writableEnded) {
      this.#held(false);
    }
    if (this.destroyed && this.errored) {
      throw this.errored;
    }
    if (!this.writableFinished) {
      await finishing(this, { readable: false });
    }
  }

  // The handler failed: an error document, or trailers when the answer has begun.
  async fail(error) {
    if (!this.#sending) {
      await this.#api.error(this.#requestId, error);
      return;
    }
    const { request, done } = this.#sending;
    if (!request.writableEnded && !request.destroyed) {
      request.addTrailers({
        'Lambda-Runtime-Function-Error-Type': String(error.errorType).replace(/[^\x20-\x7e]/g, '?'),
        'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(error)).toString('base64'),
      });
      request.end();
    }
    this.destroy();
    await done.catch(() => {});
  }

  #held(whether) {
    const request = this.#sending?.request;
    const hold = (socket) => (whether ? socket.ref() : socket.unref());
    if (request?.socket) {
      hold(request.socket);
    } else {
      request?.once('socket', hold);
    }
  }

  #begin() {
    if (this.#sending) {
      return;
    }
    this.#sending = this.#api.stream(this.#requestId, this.#contentType);
    this.#sending.request.on('error', (error) => this.destroy(error));
    if (this.#prelude) {
      this.#sending.request.write(this.#prelude);
    }
  }
}

export function makeGlobal() {
  return {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (typeof options?.highWaterMark === 'number') {
        handler[Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark')] = options.highWaterMark;
      }
      return handler;
    },
    HttpResponseStream: {
      from(stream, prelude) {
        stream.setPrelude(prelude);
        return stream;
      },
    },
  };
}
