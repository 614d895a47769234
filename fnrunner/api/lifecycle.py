"""How the answers to a creation and to an update describe the function: in transition, as Lambda's do.

Both are complete when they have been answered, so the next look finds the transition over. Who looks while an update is
carried out (:mod:`fnrunner.api.updates`) sees it in progress.

Source: Lambda API, function states.
"""

from __future__ import annotations

from typing import Any

from fnrunner.api.document import configuration
from fnrunner.model.arn import Home
from fnrunner.model.function import Function

_REASON, _CODE = "The function is being created.", "Creating"


def created(function: Function, home: Home) -> dict[str, Any]:
    """As the answer to its creation has it: Pending, and never updated."""
    document = configuration(function, home)
    del document["LastUpdateStatus"]
    return document | {"State": "Pending", "StateReason": _REASON, "StateReasonCode": _CODE}


def updating(function: Function, home: Home, *, qualifier: str = "") -> dict[str, Any]:
    """As the answer to an update has it, and as others see it meanwhile."""
    return configuration(function, home, qualifier=qualifier) | {
        "LastUpdateStatus": "InProgress",
        "LastUpdateStatusReason": _REASON,
        "LastUpdateStatusReasonCode": _CODE,
    }
