// The function that `dir/file.export` names.

import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { HandlerNotFound, ImportModuleError, MalformedHandlerName, UserCodeSyntaxError } from './errors.mjs';

export async function load(root, name) {
  if (name.includes('..')) {
    throw new MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const directory = path.join(root, path.dirname(name));
  const match = /^([^.]*)\.(.+)$/.exec(path.basename(name));
  if (!match) {
    throw new MalformedHandlerName('Bad handler');
  }
  const module = await imported(directory, match[1], root);
  const handler = found(module, match[2]) ?? found(module?.default, match[2]);
  if (!handler) {
    throw new HandlerNotFound(`${name} is undefined or not exported`);
  }
  if (typeof handler !== 'function') {
    throw new HandlerNotFound(`${name} is not a function`);
  }
  return handler;
}

function found(module, names) {
  return names.split('.').reduce((value, key) => value?.[key], module);
}

async function imported(directory, file, root) {
  const require = createRequire(import.meta.url);
  const base = path.join(directory, file);
  try {
    if (existsSync(base) && !existsSync(`${base}.js`) && path.extname(base) === '' && !statSync(base).isDirectory()) {
      return require(base);
    }
    for (const extension of ['.js', '.mjs', '.cjs']) {
      if (existsSync(base + extension)) {
        return await import(pathToFileURL(base + extension).href);
      }
    }
    return require(require.resolve(existsSync(base) ? base : file, { paths: [directory, root] }));
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw kept(new UserCodeSyntaxError(`${error}`), error);
    }
    if (error?.code === 'MODULE_NOT_FOUND') {
      throw kept(new ImportModuleError(`${error}`), error);
    }
    throw error;
  }
}

function kept(made, error) {
  made.stack = error.stack ? `${made.name}: ${error.stack}` : made.stack;
  return made;
}
