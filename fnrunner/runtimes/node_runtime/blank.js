// Loaded as a function's module would be, to find out how that goes.

exports.handler = undefined;
