"""Languages: which program runs a function's code, and the program itself.

A runtime answers three questions: which interpreter (or :class:`RuntimeUnavailable`, naming what to install), which
command line, which environment variables. It starts nothing: a sandbox does. What runs inside is the bootstrap, which
imports the handler and answers invocations over one inherited socket::

    worker ── INVOKE(sequence, fields, payload) ──► bootstrap ── handler(event, context)
           ◄─ HELLO · READY | INIT_ERROR · RESULT | ERROR | TOO_LARGE ──
           ◄─ STREAM_START · CHUNK … · STREAM_END | STREAM_ERROR ──  where the handler streams its answer
           ── CANCEL(sequence) ──►                                   when nobody wants the rest of it

Python has a bootstrap of its own. Node.js and ``provided.*`` speak Lambda's Runtime API over HTTP: their bootstrap is
``runtime_api``, which starts extensions and the runtime as its children and serves them on a port of the loopback.

A bootstrap that streams waits whenever the socket is full: back-pressure is the socket's. A bootstrap that dies closes the
socket: the worker sees it at once. A worker that dies closes it too: the bootstrap leaves. The bootstrap is read by other
interpreters than fnrunner's and imports nothing but their standard library.
"""
