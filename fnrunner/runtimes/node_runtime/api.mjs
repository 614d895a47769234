// The Runtime API over one kept connection.

import http from 'node:http';

const BASE = '/2018-06-01/runtime';

export class Api {
  constructor(address) {
    const [host, port] = address.split(':');
    this.options = { host, port, agent: new http.Agent({ keepAlive: true, maxSockets: 2 }) };
  }

  // Its connections end.
  close() {
    this.options.agent.destroy();
  }

  // { requestId, headers, body }: body is text.
  async next() {
    const { status, headers, body } = await this.#ask('GET', '/invocation/next');
    if (status !== 200) {
      throw new Error(`The Runtime API answered ${status} to a request for the next invocation: ${body}`);
    }
    return { requestId: headers['lambda-runtime-aws-request-id'], headers, body };
  }

  // The status: 202, or 413 when the answer is too large.
  async response(requestId, text) {
    const { status } = await this.#ask('POST', `/invocation/${requestId}/response`, text);
    return status;
  }

  error(requestId, error) {
    return this.#ask('POST', `/invocation/${requestId}/error`, JSON.stringify(error), typed(error));
  }

  initError(error) {
    return this.#ask('POST', '/init/error', JSON.stringify(error), typed(error));
  }

  // A request whose body is the streamed answer; `done` settles with its status.
  stream(requestId, contentType) {
    const request = http.request({
      ...this.options,
      method: 'POST',
      path: `${BASE}/invocation/${requestId}/response`,
      headers: {
        'Content-Type': contentType,
        'Lambda-Runtime-Function-Response-Mode': 'streaming',
        Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
        'Transfer-Encoding': 'chunked',
      },
    });
    const done = new Promise((resolve, reject) => {
      request.on('error', reject);
      request.on('response', (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode));
      });
    });
    done.catch(() => {});
    return { request, done };
  }

  #ask(method, path, text, more = {}) {
    return new Promise((resolve, reject) => {
      const headers = { ...more };
      if (text !== undefined) {
        headers['Content-Type'] = 'application/json';
        headers['Content-Length'] = Buffer.byteLength(text);
      }
      const request = http.request({ ...this.options, method, path: BASE + path, headers }, (response) => {
        const pieces = [];
        response.on('data', (piece) => pieces.push(piece));
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode,
            headers: response.headers,
            body: Buffer.concat(pieces).toString('utf8'),
          }),
        );
      });
      request.on('error', reject);
      request.end(text);
    });
  }
}

// Only a type that can be a header's value.
function typed(error) {
  return { 'Lambda-Runtime-Function-Error-Type': String(error.errorType).replace(/[^\x20-\x7e]/g, '?') };
}
