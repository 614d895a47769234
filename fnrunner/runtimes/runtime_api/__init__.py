"""Inside the environment: the Runtime API, the Extensions API and the Telemetry API over HTTP, for what speaks these.

Started by its path as ``python -I -u -B -X utf8 main.py CONTROL_FD TASK_ROOT OPT_ROOT KIND [ARGV…]``; standard library
only, nothing of fnrunner, and little of the library, because every import is part of a cold start::

    worker ◄── frames, one socket ──► control ─┐                          ┌─ runtime_routes ◄── HTTP ── the runtime
                                               ├─► phases (the one state) ─┼─ extension_routes ◄─ HTTP ── extensions
    the function's log ◄── stdout ◄── child ───┘                          └─ telemetry ── HTTP, TCP ──► subscribers

One thread, one ``reactor``. ``parser`` and ``route`` are free of I/O. What ends:

- the runtime: extensions get SHUTDOWN, then this process ends as the runtime did, so that the worker tells why;
- an external extension: the invocation, or the initialisation, fails with its ``Extension.`` type, and this process ends;
- an HTTP connection in the middle of a response: ``Runtime.TruncatedResponse``; anywhere else: nothing;
- the worker: every child is killed. Children carry a parent death signal too.
"""
