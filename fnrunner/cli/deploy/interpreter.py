"""Whether the workers have what functions run on: said while it is deployed, not when the first invocation fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fnrunner.cli.deploy.spec import FunctionSpec
from fnrunner.runtimes.stand_in import SETTING

_LANGUAGE = re.compile(r"[0-9].*")
"""What follows it in a runtime's name."""


def warnings(functions: Iterable[FunctionSpec], workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each runtime that some worker lacks. ``workers`` are those of a status; what is not alive, or does not say
    what it runs, counts for nothing.
    """
    knowing = [worker for worker in workers if worker["state"] == "alive" and worker.get("runtimes")]
    users: dict[str, list[str]] = {}
    for function in functions:
        runtime = function.configuration.get("Runtime")
        if runtime and not function.code.image:
            users.setdefault(runtime, []).append(function.name)
    return [line for runtime, names in sorted(users.items()) for line in _of(runtime, ", ".join(names), knowing)]


def _of(runtime: str, names: str, workers: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    without = [worker for worker in workers if runtime not in worker["runtimes"]]
    if without:
        install = f"Install {runtime} there and start the workers again, or set {SETTING}=on for them"
        if len(without) == len(workers):
            yield (
                f"{runtime} is on no worker ({_hosts(without)}): {names} will fail. {install}, so that the nearest "
                f"version stands in, or choose one of {_choices(runtime, workers)}"
            )
        else:
            yield (
                f"{runtime} is not on {len(without)} of {len(workers)} workers ({_hosts(without)}): {names} will fail "
                f"there. {install}, so that the nearest version stands in"
            )
    stood_in: dict[str, list[Mapping[str, Any]]] = {}
    for worker in workers:
        if (other := worker["runtimes"].get(runtime, runtime)) != runtime:
            stood_in.setdefault(other, []).append(worker)
    for other, where in sorted(stood_in.items()):
        yield (
            f"{runtime} is not on {_hosts(where)}: {other} stands in for {names}. Install {runtime} there and start the "
            "workers again, to run them on their own"
        )


def _choices(runtime: str, workers: Sequence[Mapping[str, Any]]) -> str:
    """What the workers have: of the same language, if there is any."""
    there = sorted({name for worker in workers for name in worker["runtimes"]}, key=_natural)
    language = _LANGUAGE.sub("", runtime)
    return ", ".join([name for name in there if _LANGUAGE.sub("", name) == language] or there)


def _natural(name: str) -> list[tuple[str, int]]:
    """For sorting: numbers by what they are worth.

    >>> sorted(("python3.10", "python3.9"), key=_natural)
    ['python3.9', 'python3.10']
    """
    return [(text, int(number or 0)) for text, number in re.findall(r"([^0-9]+)([0-9]*)", name)]


def _hosts(workers: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({worker["host"] for worker in workers}))
