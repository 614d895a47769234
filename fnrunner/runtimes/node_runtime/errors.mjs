// Errors as the Runtime API and the log want them, and those of the runtime itself.

function named(name) {
  return class extends Error {
    constructor(message) {
      super(message);
      this.name = name;
    }
  };
}

export const MalformedHandlerName = named('Runtime.MalformedHandlerName');
export const ImportModuleError = named('Runtime.ImportModuleError');
export const UserCodeSyntaxError = named('Runtime.UserCodeSyntaxError');
export const HandlerNotFound = named('Runtime.HandlerNotFound');

export class CallbackRemoved extends named('Runtime.CallbackHandlerDeprecated') {
  constructor() {
    super(
      'AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. ' +
        'You need to modify this function to use a supported handler signature to use Node.js 24 or later.',
    );
  }
}

export class UnhandledPromiseRejection extends named('Runtime.UnhandledPromiseRejection') {
  constructor(reason, promise) {
    super(text(reason));
    this.reason = reason;
    this.promise = promise;
  }
}

function text(value) {
  try {
    return String(value);
  } catch {
    return Object.prototype.toString.call(value);
  }
}

function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

// { errorType, errorMessage, trace }
export function forApi(error) {
  try {
    if (isError(error)) {
      const trace = typeof error.stack === 'string' ? error.stack.split('\n') : [];
      return { errorType: text(error.name), errorMessage: text(error.message), trace };
    }
    return { errorType: typeof error, errorMessage: text(error), trace: [] };
  } catch {
    return { errorType: 'handled', errorMessage: 'callback called with Error argument, but there was a problem', trace: [] };
  }
}

// A tab and one line of JSON: type, message, what else the error carries, stack.
export function forLog(error) {
  try {
    return `\t${JSON.stringify(error, (_, value) => (isError(value) ? described(value) : value))}`;
  } catch {
    return `\t${JSON.stringify(forApi(error))}`;
  }
}

function described(error) {
  const { errorType, errorMessage, trace } = forApi(error);
  const more = error.code === undefined ? {} : { code: error.code };
  const own = Object.fromEntries(Object.entries(error).filter(([key]) => key !== 'name' && key !== 'code'));
  return { errorType, errorMessage, ...more, ...own, stack: trace };
}
