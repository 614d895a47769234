"""Which sandbox a worker uses, and what it says when it has to make do with less."""

from __future__ import annotations

import logging
from pathlib import Path

from fnrunner.sandbox.namespace import NamespaceSandbox
from fnrunner.sandbox.process import ProcessSandbox
from fnrunner.sandbox.sandbox import SandboxUnavailable

log = logging.getLogger(__name__)

KINDS = ("auto", "namespace", "process")


def on_this_host(root: Path, kind: str = "auto", *, cpu_limit: bool = False) -> ProcessSandbox:
    """The sandbox of this kind; ``auto`` is namespaces where the host permits them, and says in the log where it does not.

    Raises SandboxUnavailable.
    """
    if kind != "process":
        try:
            return NamespaceSandbox.on_this_host(root, cpu_limit=cpu_limit)
        except SandboxUnavailable as error:
            if kind == "namespace":
                raise
            plain = ProcessSandbox.on_this_host(root, cpu_limit=cpu_limit)
            log.warning("functions are less isolated than they could be: %s", error)
            plain.misses(f"functions have no namespaces of their own: {error}")
            return plain
    return ProcessSandbox.on_this_host(root, cpu_limit=cpu_limit)
