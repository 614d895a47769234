"""What an initialisation imported, as the environment says it: checked, since a function could say anything.

>>> noted(b'{"modules": 3, "imports": [["boto3", 12.5]], "copied": false}')
'{"copied": false, "imports": [["boto3", 12.5]], "modules": 3}'
>>> noted(b'{"imports": "everything"}'), noted(b"")
('', '')
"""

from __future__ import annotations

import json

MOST = 12
MOST_BYTES = 4096
MOST_NAME_CHARS = 64
MOST_MS = 3_600_000.0
MOST_MODULES = 1_000_000


def noted(said: bytes) -> str:
    """The JSON to keep: ``modules`` that are new, ``imports`` as pairs of package and milliseconds of its own, the longest
    first, ``copied`` where all that was done beforehand, in the process that this one is a copy of. Empty where nothing of
    that kind was said.
    """
    if not said or len(said) > MOST_BYTES:
        return ""
    try:
        found = json.loads(said)
        modules, copied = found["modules"], found["copied"]
        pairs = [(name, float(ms)) for name, ms in found["imports"]]
    except (ValueError, TypeError, KeyError):
        return ""
    if type(modules) is not int or not 0 <= modules <= MOST_MODULES or type(copied) is not bool or len(pairs) > MOST:
        return ""
    for name, ms in pairs:
        if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARS or not name.isprintable():
            return ""
        if not 0 <= ms <= MOST_MS:
            return ""
    return json.dumps({"copied": copied, "imports": [list(pair) for pair in pairs], "modules": modules})
