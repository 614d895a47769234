"""Which request goes where. Pure.

>>> match("POST", "/2018-06-01/runtime/invocation/7/response")
('runtime.response', '7')
>>> match("GET", "/2018-06-01/runtime/init/error"), match("GET", "/")
(405, 404)
"""

from __future__ import annotations

_FIXED = {
    "/2018-06-01/runtime/invocation/next": ("GET", "runtime.next"),
    "/2018-06-01/runtime/init/error": ("POST", "runtime.init_error"),
    "/2020-01-01/extension/register": ("POST", "extension.register"),
    "/2020-01-01/extension/event/next": ("GET", "extension.next"),
    "/2020-01-01/extension/init/error": ("POST", "extension.init_error"),
    "/2020-01-01/extension/exit/error": ("POST", "extension.exit_error"),
    "/2022-07-01/telemetry": ("PUT", "extension.telemetry"),
    "/2020-08-15/logs": ("PUT", "extension.logs"),
}
_INVOCATION = "/2018-06-01/runtime/invocation/"
_ANSWERS = {"response": "runtime.response", "error": "runtime.error"}


def match(method: str, path: str) -> tuple[str, str] | int:
    """The name of the route and the invocation's id, or the status of the refusal."""
    if fixed := _FIXED.get(path):
        return (fixed[1], "") if method == fixed[0] else 405
    if path.startswith(_INVOCATION):
        request_id, _, action = path[len(_INVOCATION) :].partition("/")
        if request_id and action in _ANSWERS:
            return (_ANSWERS[action], request_id) if method == "POST" else 405
    return 404
