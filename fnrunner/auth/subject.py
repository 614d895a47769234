"""What a request is about: its operation, and everything that its caller must be allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fnrunner.auth.action import Need


@dataclass(frozen=True, slots=True)
class Subject:
    """``service`` is ``lambda``, ``fnrunner``, ``iam`` or ``sts``. ``params`` are for the trail, secrets included."""

    service: str
    operation: str
    needs: tuple[Need, ...]
    changes: bool
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def resource(self) -> str:
        """STS needs nothing of the caller's policies here, and is about a role."""
        return self.needs[0].resource if self.needs else str(self.params.get("RoleArn", ""))
