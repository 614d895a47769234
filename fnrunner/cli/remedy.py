"""What to do about an answer of 400 or above: the second line of an error, for the kind of thing that it is about.

>>> of_missing("/fnrunner/v1/queues/nosuch/messages", "The queue does not exist.")
'`fnrunner queue ls` lists the queues there are; names are case-sensitive.'
>>> of_missing("/2015-03-31/functions/f", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:f")
'`fnrunner functions ls` lists the functions there are; names are case-sensitive.'
"""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

NOT_CHANGED = "Nothing was changed by this call. Correct what the message names and try again."
OF_ROLE = (
    "Make one with `fnrunner iam role create NAME` and name it: `fnrunner deploy --role NAME`, or Role in a template. One "
    "that is there has to trust lambda.amazonaws.com."
)
"""Of a role that does not exist, or does not trust Lambda."""
_FUNCTION = re.compile(r"Function not found: arn:[^ ]*?:function:([\w-]+)(?::([\w$-]+))?")
_LISTS: tuple[tuple[str, str, str], ...] = (
    (r"/dead-letters/", "fnrunner dlq ls {name}", "dead letters that are held"),
    (r"/aliases(/|$)", "fnrunner functions aliases {name}", "aliases of the function"),
    (r"/(event-source-mappings|v1/mappings)/", "fnrunner mapping ls", "event source mappings there are"),
    (r"/v1/queues/", "fnrunner queue ls", "queues there are"),
    (r"/v1/streams/", "fnrunner stream ls", "streams there are"),
    (r"/v1/(topics|subscriptions)/", "fnrunner topic ls", "topics and subscriptions there are"),
    (r"/v1/buckets/", "fnrunner bucket ls", "buckets there are"),
    (r"/v1/schedules/", "fnrunner schedule ls", "schedules there are"),
    (r"/v1/stacks/", "fnrunner stack ls", "stacks there are"),
    (r"/v1/keys/", "fnrunner key ls", "keys there are"),
    (r"/layers/", "fnrunner layer ls", "layers there are"),
    (r"/url$", "fnrunner url ls", "function URLs there are"),
)
"""What a path is about, and what lists it. ``{name}`` is the function in the path."""


def of_missing(path: str, message: str) -> str:
    """What lists those there are. ``path`` is that of the request, encoded."""
    if missing := _FUNCTION.search(message):
        function, qualifier = missing.groups()
        if qualifier and qualifier != "$LATEST":
            return f"`fnrunner functions aliases {function}` and `fnrunner functions versions {function}` list those there are."
        return "`fnrunner functions ls` lists the functions there are; names are case-sensitive."
    path = urlsplit(path).path
    name = re.search(r"/functions/([^/]+)", path)
    for pattern, command, what in _LISTS:
        if re.search(pattern, path):
            typed = command.format(name=unquote(name[1]).partition(":")[0] if name else "NAME")
            return f"`{typed}` lists the {what}; names are case-sensitive."
    if "/functions" in path:
        return "`fnrunner functions show NAME` shows what the function has; names are case-sensitive."
    return NOT_CHANGED


def of_conflict(path: str, message: str) -> str:
    """What shows the one that is there."""
    name = re.search(r"/functions/([^/]+)", path)
    if re.search(r"/url(\?|$)", path) and name:
        return f"`fnrunner url show {unquote(name[1])}` shows it; `fnrunner url rm {unquote(name[1])}` takes it away."
    if uuid := re.search(r"UUID ([0-9a-f-]{36})", message):
        return f"`fnrunner mapping show {uuid[1]}` shows it, `fnrunner mapping update {uuid[1]}` changes it."
    return NOT_CHANGED


def of_throttle(reason: str, retry_after: str) -> str:
    """When to try again, and what would make room."""
    if reason == "ReservedFunctionConcurrentInvocationLimitExceeded":
        return (
            f"Every slot of its reserved concurrency is taken; try again in {retry_after} s, or reserve more: `fnrunner "
            "concurrency put NAME N`. 0 lets nothing run: `fnrunner concurrency show NAME`."
        )
    return f"Every slot is taken; try again in {retry_after} s. `fnrunner concurrency show` says by whom."


def of_no_room(function: str) -> str:
    """Of a function of which nothing may run."""
    return (
        f"The reserved concurrency of {function} is 0, which lets nothing run. `fnrunner concurrency rm {function}` lifts "
        f"that, `fnrunner concurrency put {function} N` lets N run at once."
    )
