"""The command line: every command of ``fnrunner``, against the same HTTP door that boto3 calls.

It owns what is typed and what is printed; it decides nothing about functions or events. Commands are modules with a
signature and a thin body each; what a body needs it imports when it runs, so that ``fnrunner --help`` and ``fnrunner
invoke`` start at once. For the same reason they stand on Click and ``http.client``: Typer now brings Pydantic, and an empty
Typer command takes longer to start than ``fnrunner invoke`` takes in all (measured: 0.30 s of CPU against 0.16 s).

```
main ─► commands (invoke, logs, why, dlq, …) ─► Client ─► the server     prints through Output
     ─► serve (dev, api, worker, sources)    ─► fnrunner.app, in this process
     ─► deploy/                              ─► packages, compares, applies
```

A server that is not there, or refuses, is one line that names the fault and one with the remedy; see :mod:`fnrunner.cli.error`
for the exit statuses. With ``--json`` a command prints one JSON document (``logs`` one a line) and nothing else on
standard output.
"""
