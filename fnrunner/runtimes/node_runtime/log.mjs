// console.* as Lambda's Node.js writes it: a line of text or of JSON, with the time, the request and the level.

import { format } from 'node:util';
import { writeSync } from 'node:fs';

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];
const METHODS = { trace: 'TRACE', debug: 'DEBUG', log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };
const STDOUT = 1;

export class Log {
  constructor(shape, level) {
    this.requestId = undefined;
    this.json = (shape ?? '').toUpperCase() === 'JSON';
    // a level filters only what is JSON
    this.least = this.json ? Math.max(0, LEVELS.indexOf((level ?? '').toUpperCase())) : 0;
  }

  patch(console) {
    for (const [method, level] of Object.entries(METHODS)) {
      console[method] = (...values) => {
        if (LEVELS.indexOf(level) >= this.least) {
          write(`${this.line(level, values)}\n`);
        }
      };
    }
  }

  line(level, values) {
    const time = new Date().toISOString();
    if (this.json) {
      return jsonLine(time, level, this.requestId, values);
    }
    // a carriage return keeps the lines of one message in one event
    return `${time}\t${this.requestId}\t${level}\t${format(...values)}`.replace(/\n/g, '\r');
  }
}

function jsonLine(timestamp, level, requestId, values) {
  const line = { timestamp, level, requestId };
  const error = values.find((value) => value instanceof Error);
  if (values.length === 1) {
    const [message] = values;
    try {
      return JSON.stringify({ ...line, message }, replaced);
    } catch {
      // a cycle, or a BigInt: as text
    }
  }
  line.message = format(...values);
  if (error) {
    line.errorType = error.name ?? 'UnknownError';
    line.errorMessage = error.message;
    line.stackTrace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
  }
  return JSON.stringify(line);
}

function replaced(_, value) {
  if (value instanceof Error) {
    return { errorType: value.name, errorMessage: value.message, stackTrace: String(value.stack).split('\n') };
  }
  return value;
}

// At once and whole: a line must be out before the answer, also when the process ends with it.
function write(text) {
  let data = Buffer.from(text);
  while (data.length) {
    try {
      data = data.subarray(writeSync(STDOUT, data));
    } catch (error) {
      if (error.code !== 'EAGAIN') {
        return;
      }
    }
  }
}
