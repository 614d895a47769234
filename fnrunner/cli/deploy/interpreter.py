"""Whether the workers have what functions run on: said while it is deployed, not when the first invocation fails."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fnrunner.cli.deploy.spec import FunctionSpec
from fnrunner.cli.error import UsageFault
from fnrunner.cli.output import natural
from fnrunner.runtimes.stand_in import SETTING

_LANGUAGE = re.compile(r"[0-9].*")
"""What follows it in a runtime's name."""


def warnings(functions: Iterable[FunctionSpec], workers: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each runtime that some worker lacks. ``workers`` are those of a status; what is not alive, or does not say
    what it runs, counts for nothing.
    """
    knowing = _knowing(workers)
    users: dict[str, list[str]] = {}
    for function in functions:
        runtime = function.configuration.get("Runtime")
        if runtime and not function.code.image:
            users.setdefault(runtime, []).append(function.name)
    return [line for runtime, names in sorted(users.items()) for line in _of(runtime, ", ".join(names), knowing)]


def check_known(functions: Iterable[FunctionSpec], workers: Sequence[Mapping[str, Any]]) -> None:
    """Raises UsageFault for a runtime that neither this release nor any worker has heard of."""
    from fnrunner.runtimes.choice import Runtimes

    runtimes = Runtimes()
    there = _runtimes(_knowing(workers))
    for function in functions:
        name = str(function.configuration.get("Runtime") or "")
        if name and not function.code.image and name not in there and not runtimes.serves(name):
            known = sorted(there or runtimes.available(), key=natural)
            raise UsageFault(
                f"{function.name}: {name!r} is no runtime that fnrunner knows", f"Choose one of {', '.join(known)}."
            )


def check_kept(functions: Iterable[Mapping[str, Any]], workers: Sequence[Mapping[str, Any]]) -> None:
    """Raises UsageFault for functions that work now, and would not with the runtime that they are to have.

    ``functions`` are those of a report, with what would change of each.
    """
    knowing = _knowing(workers)
    there = _runtimes(knowing)
    for function in functions:
        change = next((one for one in function["changes"] if one["key"] == "Runtime"), None)
        if change is not None and change["new"] not in there and change["old"] in there:
            raise UsageFault(
                f"{function['name']} runs on {change['old']}, and {change['new']} is on no worker ({_hosts(knowing)}): it "
                "would run no more",
                f"Choose one of {_choices(change['new'], knowing)}, install {change['new']} there and start the workers again, "
                "or say --yes to deploy it all the same.",
            )


def chosen(own: str, workers: Sequence[Mapping[str, Any]]) -> str:
    """The runtime of a function that names none: ``own``, this Python's, where workers have it; else the newest of the same
    language that all of them have, or some. ``own``, too, where nobody knows what workers have.

    >>> worker = {"state": "alive", "runtimes": {"python3.9": "python3.9", "python3.13": "python3.13"}}
    >>> chosen("python3.11", [worker]), chosen("python3.9", [worker]), chosen("python3.11", [])
    ('python3.13', 'python3.9', 'python3.11')
    """
    have = [{name for name, by in worker["runtimes"].items() if name == by} for worker in _knowing(workers)]
    if not have:
        return own
    for there in (set.intersection(*have), set.union(*have)):
        alike = [name for name in there if _LANGUAGE.sub("", name) == _LANGUAGE.sub("", own)]
        if alike:
            return own if own in alike else max(alike, key=natural)
    return own


def _knowing(workers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that are alive and say what they run."""
    return [worker for worker in workers if worker["state"] == "alive" and worker.get("runtimes")]


def _runtimes(workers: Sequence[Mapping[str, Any]]) -> set[str]:
    """What any of them can run."""
    return {name for worker in workers for name in worker["runtimes"]}


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
    there = sorted(_runtimes(workers), key=natural)
    language = _LANGUAGE.sub("", runtime)
    return ", ".join([name for name in there if _LANGUAGE.sub("", name) == language] or there)


def _hosts(workers: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(sorted({worker["host"] for worker in workers}))
