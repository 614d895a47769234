// Inside the environment: loads a Node.js handler and runs it against the Runtime API, one invocation at a time.
//
// Answers, errors, log lines and exits are those of Lambda's Node.js runtime interface client; the code is fnrunner's own.
// Standard modules only, Node 20 and later.

import { beginning } from './beginning.mjs';
import { Api } from './api.mjs';
import { CallbackRemoved, UnhandledPromiseRejection, forApi, forLog } from './errors.mjs';
import { load } from './handler.mjs';
import { makeContext } from './context.mjs';
import { Log } from './log.mjs';
import { ResponseStream, STREAMING, makeGlobal } from './stream.mjs';

const EXIT_UNCAUGHT = 129;
const EXIT_REJECTED = 128;
const MAJOR_WITHOUT_CALLBACKS = 24;

const env = process.env;
await beginning(env);
const api = new Api(env.AWS_LAMBDA_RUNTIME_API);
const log = new Log(env.AWS_LAMBDA_LOG_FORMAT, env.AWS_LAMBDA_LOG_LEVEL);

// What an error that nobody caught means now: of the initialisation, of an invocation, or of neither.
let report = (error) => api.initError(forApi(error));
// What happens when nothing is left to do: Node would leave, and an invocation would have no answer.
let whenIdle = () => {};

async function giveUp(title, error, status) {
  console.error(title, forLog(error));
  try {
    await report(error);
  } finally {
    process.exit(status);
  }
}

process.on('uncaughtException', (error) => giveUp('Uncaught Exception', error, EXIT_UNCAUGHT));
process.on('unhandledRejection', (reason, promise) =>
  giveUp('Unhandled Promise Rejection', new UnhandledPromiseRejection(reason, promise), EXIT_REJECTED),
);
process.on('beforeExit', () => whenIdle());

function setTrace(headers) {
  for (const [name, header] of [
    ['_X_AMZN_TRACE_ID', 'lambda-runtime-trace-id'],
    ['TRACEPARENT', 'traceparent'],
    ['TRACESTATE', 'tracestate'],
  ]) {
    if (headers[header]) {
      env[name] = headers[header];
    } else {
      delete env[name];
    }
  }
}

function serialised(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

// The handler's answer: of a promise it returns, of the callback it calls, or of context.done and its like. With a
// callback it waits until nothing is left to do, unless the handler does not want that.
function called(handler, event, context, state) {
  return new Promise((resolve, reject) => {
    const settle = (error, result) => (error !== undefined && error !== null ? reject(error) : resolve(result));
    const callback = (error, result) => {
      if (state.called) {
        return;
      }
      state.called = true;
      if (state.waits && (error === undefined || error === null)) {
        whenIdle = () => settle(error, result);
      } else {
        settle(error, result);
      }
    };
    state.done = (error, result) => {
      state.waits = false;
      callback(error, result);
    };
    whenIdle = () => settle(null, null);
    const result = handler(event, context, callback);
    if (typeof result?.then === 'function') {
      result.then(resolve, (error) => reject(error ?? new Error(String(error))));
    }
  });
}

async function invokeBuffered(handler, { requestId, headers, body }) {
  const state = { waits: true, called: false, done: () => {} };
  let answer;
  try {
    answer = serialised(await called(handler, JSON.parse(body), makeContext(env, headers, state), state));
  } catch (error) {
    console.error('Invoke Error', forLog(error));
    await api.error(requestId, forApi(error));
    return;
  }
  const status = await api.response(requestId, answer);
  if (status === 413) {
    console.error('Failed to post handler success response. Http response code: 413.');
  }
}

async function invokeStreaming(handler, { requestId, headers, body }) {
  const stream = new ResponseStream(api, requestId);
  const state = { waits: true, called: false, done: () => {} };
  try {
    whenIdle = () => stream.end();
    const result = handler(JSON.parse(body), stream, makeContext(env, headers, state));
    if (typeof result?.then !== 'function') {
      throw new Error('Streaming does not support non-async handlers.');
    }
    await result;
    await stream.complete();
  } catch (error) {
    console.error('Invoke Error', forLog(error));
    await stream.fail(forApi(error));
  }
}

async function main() {
  globalThis.awslambda = makeGlobal();
  log.patch(console);
  let handler;
  try {
    handler = await load(env.LAMBDA_TASK_ROOT, env._HANDLER);
    const major = Number(process.versions.node.split('.')[0]);
    if (major >= MAJOR_WITHOUT_CALLBACKS && !handler[STREAMING] && handler.length >= 3) {
      throw new CallbackRemoved();
    }
  } catch (error) {
    await giveUp('Uncaught Exception', error, EXIT_UNCAUGHT);
  }
  const invoke = handler[STREAMING] ? invokeStreaming : invokeBuffered;
  for (;;) {
    whenIdle = () => {};
    const invocation = await api.next();
    log.requestId = invocation.requestId;
    setTrace(invocation.headers);
    report = (error) => api.error(invocation.requestId, forApi(error));
    await invoke(handler, invocation);
  }
}

await main();
